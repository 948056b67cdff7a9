// Inputs as bytes: neighbours share a scale, the largest of them by 127.

fn largest(v: vec4<f32>) -> f32 {
  let size = abs(v);
  return max(max(size.x, size.y), max(size.z, size.w));
}

// Four values of a block whose largest is `top`.
fn rounded(v: vec4<f32>, top: f32) -> u32 {
  return pack4xI8(vec4<i32>(round(v * (127 / max(top, 1e-30)))));
}
