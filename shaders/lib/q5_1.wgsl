// q5_1: weight j = d * q[j] + m; one vec4 of quants a block (nibbles), two u32 of scales (fifth bits; d low half,
// m high half).

//#include fifth_bits

fn weight_block(block: u32) -> array<vec4<f32>, 8> {
  let q = quants[block];
  let bits = scales[block * 2];
  let scale = unpack2x16float(scales[block * 2 + 1]);
  return bytes_block(
    low_nibbles(q) | spread_bits(bits), high_nibbles(q) | spread_bits(bits >> 16), scale.x, scale.y);
}

fn weight_dot(block: u32, x: ptr<function, array<vec4<f32>, 8>>, xsum: vec4<f32>) -> f32 {
  let q = quants[block];
  let bits = scales[block * 2];
  let scale = unpack2x16float(scales[block * 2 + 1]);
  let sum = bytes_dot(low_nibbles(q) | spread_bits(bits), high_nibbles(q) | spread_bits(bits >> 16), x);
  return scale.x * sum + scale.y * dot(xsum, vec4<f32>(1));
}
