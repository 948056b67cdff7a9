// The input of a matrix-vector product as it lies in x, four at a time.

fn input(at: u32) -> vec4<f32> {
  return x[at];
}
