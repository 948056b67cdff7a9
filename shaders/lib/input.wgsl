// The input of a matrix-vector product as it lies in x, [K] for one token or [T, K] for several where 4 divides K; four
// values at a time.

fn input(token: u32, at: u32) -> vec4<f32> {
  return x[token * (params.cols / 4) + at];
}

// Before the first `input` of tokens from `token` on; all lanes call it.
fn begin_input(token: u32, count: u32, local: u32) {
}
