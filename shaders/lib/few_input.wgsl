// The input of a matrix-vector product for several tokens as it lies in x [T, K], four at a time; 4 divides K.

fn input(token: u32, at: u32) -> vec4<f32> {
  return x[token * (params.cols / 4) + at];
}
