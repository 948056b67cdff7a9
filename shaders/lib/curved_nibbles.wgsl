// A block of 32 nibbles that stand for values on a curve: curve(q), which the format defines, gives four of them.

//#include nibbles

fn curve_block(q: vec4<u32>, d: f32) -> array<vec4<f32>, 8> {
  let low = low_nibbles(q);
  let high = high_nibbles(q);
  return array<vec4<f32>, 8>(
    d * curve(places(low.x) * UNITS), d * curve(places(low.y) * UNITS),
    d * curve(places(low.z) * UNITS), d * curve(places(low.w) * UNITS),
    d * curve(places(high.x) * UNITS), d * curve(places(high.y) * UNITS),
    d * curve(places(high.z) * UNITS), d * curve(places(high.w) * UNITS),
  );
}

fn curve_dot(q: vec4<u32>, x: ptr<function, array<vec4<f32>, 8>>) -> f32 {
  let w = curve_block(q, 1);
  let low = w[0] * (*x)[0] + w[1] * (*x)[1] + w[2] * (*x)[2] + w[3] * (*x)[3];
  let high = w[4] * (*x)[4] + w[5] * (*x)[5] + w[6] * (*x)[6] + w[7] * (*x)[7];
  return dot(low + high, vec4<f32>(1));
}
