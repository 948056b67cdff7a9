// Fields of one or two bits, brought to the bytes of the weights that they belong to.

// Sixteen bits as sixteen bytes, each bit in place 4 of its byte. A product puts copies of four bits 7 places apart,
// which brings the next bit to the next byte.
fn spread_bits(bits: u32) -> vec4<u32> {
  let fours = vec4<u32>(bits, bits, bits >> 8, bits >> 8) & vec4<u32>(0x0f, 0xf0, 0x0f, 0xf0);
  return (fours * vec4<u32>(0x02040810, 0x00204081, 0x02040810, 0x00204081)) & vec4<u32>(0x10101010);
}

// Sixteen pairs of bits as sixteen bytes: byte i of `pairs` holds those of weights i, 4 + i, 8 + i, 12 + i.
fn spread_pairs(pairs: u32) -> vec4<u32> {
  return (vec4<u32>(pairs) >> vec4<u32>(0, 2, 4, 6)) & vec4<u32>(0x03030303);
}
