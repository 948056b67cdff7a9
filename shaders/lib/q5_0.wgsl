// q5_0: weight j = d * (q[j] - 16); one vec4 of quants a block (nibbles), two u32 of scales (fifth bits; d in the
// low half).

//#include fifth_bits

fn weight_block(p: Packed) -> array<vec4<f32>, 8> {
  let d = unpack2x16float(p.scale).x;
  return bytes_block(low_fives(p), high_fives(p), d, -16 * d);
}

fn weight_dot(p: Packed, x: ptr<function, array<vec4<f32>, 8>>, xsum: vec4<f32>) -> f32 {
  return unpack2x16float(p.scale).x * (bytes_dot(low_fives(p), high_fives(p), x) - dot(xsum, vec4<f32>(16)));
}
