// The fifth bits of a block of 5-bit weights: bit j of one u32 belongs to weight j.

//#include nibbles

// Sixteen bits as sixteen bytes, each bit in place 4 of its byte. The product puts copies of four bits
// 7 places apart, which brings bit i to place 8 * i.
fn spread_bits(bits: u32) -> vec4<u32> {
  let fours = (vec4<u32>(bits) >> vec4<u32>(0, 4, 8, 12)) & vec4<u32>(15);
  return ((fours * 0x00204081) & vec4<u32>(0x01010101)) << vec4<u32>(4);
}
