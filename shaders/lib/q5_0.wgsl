// q5_0: weight j = d * (q[j] - 16); one vec4 of quants a block (nibbles), two u32 of scales (fifth bits; d in the
// low half).

//#include fifth_bits

fn weight_block(block: u32) -> array<vec4<f32>, 8> {
  let q = quants[block];
  let bits = scales[block * 2];
  let d = unpack2x16float(scales[block * 2 + 1]).x;
  return bytes_block(low_nibbles(q) | spread_bits(bits), high_nibbles(q) | spread_bits(bits >> 16), d, -16 * d);
}

fn weight_dot(block: u32, x: ptr<function, array<vec4<f32>, 8>>, xsum: vec4<f32>) -> f32 {
  let q = quants[block];
  let bits = scales[block * 2];
  let d = unpack2x16float(scales[block * 2 + 1]).x;
  let sum = bytes_dot(low_nibbles(q) | spread_bits(bits), high_nibbles(q) | spread_bits(bits >> 16), x);
  return d * (sum - dot(xsum, vec4<f32>(16)));
}
