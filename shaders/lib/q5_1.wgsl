// q5_1: weight j = d * q[j] + m; one vec4 of quants a block (nibbles), two u32 of scales (fifth bits; d low half,
// m high half).

//#include fifth_bits

fn weight_block(p: Packed) -> array<vec4<f32>, 8> {
  let scale = unpack2x16float(p.scale);
  return bytes_block(low_fives(p), high_fives(p), scale.x, scale.y);
}

fn weight_dot(p: Packed, x: ptr<function, array<vec4<f32>, 8>>, xsum: vec4<f32>) -> f32 {
  let scale = unpack2x16float(p.scale);
  return scale.x * bytes_dot(low_fives(p), high_fives(p), x) + scale.y * dot(xsum, vec4<f32>(1));
}
