// Blocks whose two halves of 16 weights have scales of their own. Bytes (below 128) as in bytes_dot.

//#include places

// The sums of q * x over either half.
fn half_dots(low: vec4<u32>, high: vec4<u32>, x: ptr<function, array<vec4<f32>, 8>>) -> vec2<f32> {
  let a = places(low.x) * (*x)[0] + places(low.y) * (*x)[1] + places(low.z) * (*x)[2] + places(low.w) * (*x)[3];
  let b = places(high.x) * (*x)[4] + places(high.y) * (*x)[5] + places(high.z) * (*x)[6] + places(high.w) * (*x)[7];
  return vec2<f32>(dot(a, UNITS), dot(b, UNITS));
}

// The sums of x over either half; xsum: of both, by component.
fn half_sums(x: ptr<function, array<vec4<f32>, 8>>, xsum: vec4<f32>) -> vec2<f32> {
  let a = (*x)[0] + (*x)[1] + (*x)[2] + (*x)[3];
  return vec2<f32>(dot(a, vec4<f32>(1)), dot(xsum - a, vec4<f32>(1)));
}

fn four_of(word: u32, zero: f32, d: f32, m: f32) -> vec4<f32> {
  return (places(word) * UNITS - zero) * d + m;
}

// d * (q - zero) + m for each byte, with d and m of its half.
fn half_blocks(low: vec4<u32>, high: vec4<u32>, zero: f32, d: vec2<f32>, m: vec2<f32>) -> array<vec4<f32>, 8> {
  return array<vec4<f32>, 8>(
    four_of(low.x, zero, d.x, m.x), four_of(low.y, zero, d.x, m.x),
    four_of(low.z, zero, d.x, m.x), four_of(low.w, zero, d.x, m.x),
    four_of(high.x, zero, d.y, m.y), four_of(high.y, zero, d.y, m.y),
    four_of(high.z, zero, d.y, m.y), four_of(high.w, zero, d.y, m.y),
  );
}
