// A block of weights as whole numbers that fit signed bytes: weight j = d * q[j] + m, with d and m for each half of the
// block where the format says HALVES. Its product with a block of an input that is whole numbers, too, needs no floats.

struct Bytes {
  low: vec4<u32>,  // q of weights 0 to 15
  high: vec4<u32>, // of 16 to 31
  d: vec2<f32>,
  m: vec2<f32>,
}

fn dots(a: vec4<u32>, b: vec4<u32>) -> i32 {
  return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w);
}

// The sums of the numbers in either half.
fn byte_sums(low: vec4<u32>, high: vec4<u32>) -> vec2<f32> {
  let ones = vec4<u32>(0x01010101);
  return vec2<f32>(vec2<i32>(dots(low, ones), dots(high, ones)));
}

// The sum of weight times input. sums: byte_sums of the input.
fn bytes_times(w: Bytes, low: vec4<u32>, high: vec4<u32>, sums: vec2<f32>) -> f32 {
  if (HALVES) {
    return dot(w.d, vec2<f32>(vec2<i32>(dots(w.low, low), dots(w.high, high)))) + dot(w.m, sums);
  }
  return w.d.x * f32(dots(w.low, low) + dots(w.high, high)) + w.m.x * (sums.x + sums.y);
}

// The same with a scale for either half of the input. steps: the scales, then each times the sum of its half's bytes.
fn halves_times(w: Bytes, low: vec4<u32>, high: vec4<u32>, steps: vec4<f32>) -> f32 {
  return dot(w.d * steps.xy, vec2<f32>(vec2<i32>(dots(w.low, low), dots(w.high, high)))) + dot(w.m, steps.zw);
}
