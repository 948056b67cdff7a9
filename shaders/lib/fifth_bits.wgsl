// A block of 5-bit weights: nibbles, the fifth bits (bit j of one u32 belongs to weight j) and a word of scales.

//#include nibbles

struct Packed {
  q: vec4<u32>,
  bits: u32,
  scale: u32,
}

fn fetch(block: u32) -> Packed {
  return Packed(quants[block], scales[block * 2], scales[block * 2 + 1]);
}

// Sixteen bits as sixteen bytes, each bit in place 4 of its byte. A product puts copies of four bits 7 places apart,
// which brings the next bit to the next byte.
fn spread_bits(bits: u32) -> vec4<u32> {
  let fours = vec4<u32>(bits, bits, bits >> 8, bits >> 8) & vec4<u32>(0x0f, 0xf0, 0x0f, 0xf0);
  return (fours * vec4<u32>(0x02040810, 0x00204081, 0x02040810, 0x00204081)) & vec4<u32>(0x10101010);
}

fn low_fives(p: Packed) -> vec4<u32> {
  return low_nibbles(p.q) | spread_bits(p.bits);
}

fn high_fives(p: Packed) -> vec4<u32> {
  return high_nibbles(p.q) | spread_bits(p.bits >> 16);
}
