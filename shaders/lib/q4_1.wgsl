// q4_1: weight j = d * q[j] + m; one vec4 of quants a block (nibbles), one u32 of scales (d low half, m high half).

//#include nibbles

fn weight_block(block: u32) -> array<vec4<f32>, 8> {
  let q = quants[block];
  let scale = unpack2x16float(scales[block]);
  return bytes_block(low_nibbles(q), high_nibbles(q), scale.x, scale.y);
}

fn weight_dot(block: u32, x: ptr<function, array<vec4<f32>, 8>>, xsum: vec4<f32>) -> f32 {
  let q = quants[block];
  let scale = unpack2x16float(scales[block]);
  return scale.x * bytes_dot(low_nibbles(q), high_nibbles(q), x) + scale.y * dot(xsum, vec4<f32>(1));
}
