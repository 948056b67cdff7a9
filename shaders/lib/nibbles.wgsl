// A block of 32 nibbles in one vec4<u32>: byte j holds weight j (low nibble) and weight 16 + j (high nibble).

fn bytes(word: u32) -> vec4<f32> {
  return vec4<f32>(unpack4xU8(word));
}

fn low_nibbles(q: vec4<u32>) -> vec4<u32> {
  return q & vec4<u32>(0x0f0f0f0f);
}

fn high_nibbles(q: vec4<u32>) -> vec4<u32> {
  return (q >> vec4<u32>(4)) & vec4<u32>(0x0f0f0f0f);
}

// The sum of q * x over a block whose 32 unsigned bytes are in `low` (weights 0 to 15) and `high` (16 to 31).
fn bytes_dot(low: vec4<u32>, high: vec4<u32>, x: ptr<function, array<vec4<f32>, 8>>) -> f32 {
  let a = dot(bytes(low.x), (*x)[0]) + dot(bytes(low.y), (*x)[1])
    + dot(bytes(low.z), (*x)[2]) + dot(bytes(low.w), (*x)[3]);
  let b = dot(bytes(high.x), (*x)[4]) + dot(bytes(high.y), (*x)[5])
    + dot(bytes(high.z), (*x)[6]) + dot(bytes(high.w), (*x)[7]);
  return a + b;
}

// d * q + m for each of the 32 bytes.
fn bytes_block(low: vec4<u32>, high: vec4<u32>, d: f32, m: f32) -> array<vec4<f32>, 8> {
  return array<vec4<f32>, 8>(
    d * bytes(low.x) + m, d * bytes(low.y) + m, d * bytes(low.z) + m, d * bytes(low.w) + m,
    d * bytes(high.x) + m, d * bytes(high.y) + m, d * bytes(high.z) + m, d * bytes(high.w) + m,
  );
}
