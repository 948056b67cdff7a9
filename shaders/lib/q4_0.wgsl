// q4_0: weight j = d * (q[j] - 8); one vec4 of quants a block (nibbles), d in half a u32 of scales.

//#include half_scale
//#include nibbles

fn weight_block(block: u32) -> array<vec4<f32>, 8> {
  let q = quants[block];
  let d = scale_of(block);
  return bytes_block(low_nibbles(q), high_nibbles(q), d, -8 * d);
}

fn weight_dot(block: u32, x: ptr<function, array<vec4<f32>, 8>>, xsum: vec4<f32>) -> f32 {
  let q = quants[block];
  return scale_of(block) * (bytes_dot(low_nibbles(q), high_nibbles(q), x) - dot(xsum, vec4<f32>(8)));
}
