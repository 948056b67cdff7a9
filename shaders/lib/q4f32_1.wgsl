// q4f32_1: weight j = d * (q[j] - 7); one vec4 of quants a block (nibbles), one u32 of scales: f32 d.

//#include nibbles
//#include half_blocks

struct Packed {
  q: vec4<u32>,
  scale: u32,
}

fn fetch(block: u32) -> Packed {
  return Packed(quants[block], scales[block]);
}

fn weight_block(p: Packed) -> array<vec4<f32>, 8> {
  let d = vec2<f32>(bitcast<f32>(p.scale));
  return half_blocks(low_nibbles(p.q), high_nibbles(p.q), 7, d, vec2<f32>());
}

fn weight_dot(p: Packed, x: ptr<function, array<vec4<f32>, 8>>, xsum: vec4<f32>) -> f32 {
  return bitcast<f32>(p.scale) * (bytes_dot(low_nibbles(p.q), high_nibbles(p.q), x) - dot(xsum, vec4<f32>(7)));
}
