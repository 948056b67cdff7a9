// A block of 32 nibbles in one vec4<u32>: byte j holds weight j (low nibble) and weight 16 + j (high nibble).

//#include places

fn low_nibbles(q: vec4<u32>) -> vec4<u32> {
  return q & vec4<u32>(0x0f0f0f0f);
}

fn high_nibbles(q: vec4<u32>) -> vec4<u32> {
  return (q >> vec4<u32>(4)) & vec4<u32>(0x0f0f0f0f);
}

// The sum of q * x over a block whose 32 bytes (below 128) are in `low` (weights 0 to 15) and `high` (16 to 31).
fn bytes_dot(low: vec4<u32>, high: vec4<u32>, x: ptr<function, array<vec4<f32>, 8>>) -> f32 {
  let a = places(low.x) * (*x)[0] + places(low.y) * (*x)[1] + places(low.z) * (*x)[2] + places(low.w) * (*x)[3];
  let b = places(high.x) * (*x)[4] + places(high.y) * (*x)[5] + places(high.z) * (*x)[6] + places(high.w) * (*x)[7];
  return dot(a + b, UNITS);
}

// d * q + m for each of the 32 bytes.
fn bytes_block(low: vec4<u32>, high: vec4<u32>, d: f32, m: f32) -> array<vec4<f32>, 8> {
  let units = d * UNITS;
  return array<vec4<f32>, 8>(
    places(low.x) * units + m, places(low.y) * units + m, places(low.z) * units + m, places(low.w) * units + m,
    places(high.x) * units + m, places(high.y) * units + m, places(high.z) * units + m, places(high.w) * units + m,
  );
}
