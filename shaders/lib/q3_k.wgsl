// q3_k: weight j = d * (s - 32) * (q[j] - 4), s for each half of a block. Eight blocks share seven vec4 of quants: a
// header (f16 d; both s of each block), two u32 of the low pairs of bits for each block, a u32 of third bits for each.
// No scales.

//#include spread_bits
//#include half_blocks
//#include six_bits

struct Packed {
  low: vec2<u32>,
  bits: u32,
  header: vec4<u32>,
  block: u32,
}

fn fetch(block: u32) -> Packed {
  let at = block / 8 * 7;
  let pairs = quants[at + 1 + block % 8 / 2];
  let low = select(pairs.xy, pairs.zw, (block & 1) != 0);
  return Packed(low, quants[at + 5 + (block & 4) / 4][block & 3], quants[at], block);
}

fn half_scales(p: Packed) -> vec2<f32> {
  return unpack2x16float(p.header.x).x * (sixes(p.header, p.block) - 32);
}

fn threes(pairs: u32, bits: u32) -> vec4<u32> {
  return spread_pairs(pairs) | (spread_bits(bits) >> vec4<u32>(2));
}

fn weight_block(p: Packed) -> array<vec4<f32>, 8> {
  return half_blocks(threes(p.low.x, p.bits), threes(p.low.y, p.bits >> 16), 4, half_scales(p), vec2<f32>());
}

fn weight_dot(p: Packed, x: ptr<function, array<vec4<f32>, 8>>, xsum: vec4<f32>) -> f32 {
  let dots = half_dots(threes(p.low.x, p.bits), threes(p.low.y, p.bits >> 16), x);
  return dot(half_scales(p), dots - 4 * half_sums(x, xsum));
}
