// q2_k: weight j = d * s * q[j] - dmin * m, s and m for each half of a block. Eight blocks share five vec4 of quants: a
// byte of s (low nibble) and m for each half, then two u32 of pairs of bits for each block; and one u32 of scales: d in
// the low half, dmin in the high half.

//#include spread_bits
//#include half_blocks

struct Packed {
  q: vec2<u32>,
  steps: u32, // of the block, in the half that `block` says
  scale: u32,
  block: u32,
}

fn fetch(block: u32) -> Packed {
  let at = block / 8 * 5;
  let part = block % 8 / 2;
  let pairs = quants[at + 1 + part];
  let q = select(pairs.xy, pairs.zw, (block & 1) != 0);
  return Packed(q, quants[at][part], scales[block / 8], block);
}

// d * s of both halves, dmin * m of both halves
fn half_scales(p: Packed) -> vec4<f32> {
  let steps = (vec4<u32>(p.steps >> (16 * (p.block & 1))) >> vec4<u32>(0, 8, 4, 12)) & vec4<u32>(15);
  return unpack2x16float(p.scale).xxyy * vec4<f32>(steps);
}

fn weight_block(p: Packed) -> array<vec4<f32>, 8> {
  let scale = half_scales(p);
  return half_blocks(spread_pairs(p.q.x), spread_pairs(p.q.y), 0, scale.xy, -scale.zw);
}

fn weight_dot(p: Packed, x: ptr<function, array<vec4<f32>, 8>>, xsum: vec4<f32>) -> f32 {
  let scale = half_scales(p);
  let dots = half_dots(spread_pairs(p.q.x), spread_pairs(p.q.y), x);
  return dot(scale.xy, dots) - dot(scale.zw, half_sums(x, xsum));
}
