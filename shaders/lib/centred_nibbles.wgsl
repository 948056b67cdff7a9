// weight j = d * (q[j] - CENTRE); one vec4 of quants a block (nibbles), d in half a u32 of scales. Uses CENTRE.

//#include half_scale
//#include nibbles

struct Packed {
  q: vec4<u32>,
  scale: u32,
  block: u32,
}

fn fetch(block: u32) -> Packed {
  return Packed(quants[block], scales[block / 2], block);
}

fn weight_block(p: Packed) -> array<vec4<f32>, 8> {
  let d = half_scale(p.scale, p.block);
  return bytes_block(low_nibbles(p.q), high_nibbles(p.q), d, -CENTRE * d);
}

fn weight_dot(p: Packed, x: ptr<function, array<vec4<f32>, 8>>, xsum: vec4<f32>) -> f32 {
  let sum = bytes_dot(low_nibbles(p.q), high_nibbles(p.q), x);
  return half_scale(p.scale, p.block) * (sum - dot(xsum, vec4<f32>(CENTRE)));
}
