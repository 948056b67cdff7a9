// A block of 5-bit weights: nibbles, the fifth bits (bit j of one u32 belongs to weight j) and a word of scales.

//#include nibbles
//#include spread_bits

struct Packed {
  q: vec4<u32>,
  bits: u32,
  scale: u32,
}

fn fetch(block: u32) -> Packed {
  return Packed(quants[block], scales[block * 2], scales[block * 2 + 1]);
}

fn low_fives(p: Packed) -> vec4<u32> {
  return low_nibbles(p.q) | spread_bits(p.bits);
}

fn high_fives(p: Packed) -> vec4<u32> {
  return high_nibbles(p.q) | spread_bits(p.bits >> 16);
}
