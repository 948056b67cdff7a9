// q6_k: weight j = d * s * (q[j] - 32), s for each half of a block. Eight blocks share thirteen vec4 of quants: sixteen
// signed bytes s, a vec4 of nibbles for each block, two u32 of upper bits for each; and one u32 of scales, f32 d.

//#include nibbles
//#include spread_bits
//#include half_blocks

struct Packed {
  q: vec4<u32>,
  top: vec2<u32>,
  steps: u32, // the two s, in the half that `block` says
  d: u32,
  block: u32,
}

fn fetch(block: u32) -> Packed {
  let at = block / 8 * 13;
  let part = block % 8 / 2;
  let tops = quants[at + 9 + part];
  let top = select(tops.xy, tops.zw, (block & 1) != 0);
  return Packed(quants[at + 1 + block % 8], top, quants[at][part], scales[block / 8], block);
}

fn half_scales(p: Packed) -> vec2<f32> {
  let steps = bitcast<i32>(p.steps >> (16 * (p.block & 1)));
  return bitcast<f32>(p.d) * vec2<f32>(f32((steps << 24) >> 24), f32((steps << 16) >> 24));
}

fn low_sixes(p: Packed) -> vec4<u32> {
  return low_nibbles(p.q) | (spread_pairs(p.top.x) << vec4<u32>(4));
}

fn high_sixes(p: Packed) -> vec4<u32> {
  return high_nibbles(p.q) | (spread_pairs(p.top.y) << vec4<u32>(4));
}

fn weight_block(p: Packed) -> array<vec4<f32>, 8> {
  return half_blocks(low_sixes(p), high_sixes(p), 32, half_scales(p), vec2<f32>());
}

fn weight_dot(p: Packed, x: ptr<function, array<vec4<f32>, 8>>, xsum: vec4<f32>) -> f32 {
  return dot(half_scales(p), half_dots(low_sixes(p), high_sixes(p), x) - 32 * half_sums(x, xsum));
}
