// Four neighbouring values of one token of x [T, K], zeros past the end of the row and past the last token.
// Uses the module-scope names x, step and params.cols.

override ALIGNED: bool = true; // cols is a multiple of 32

fn token_input(token: u32, col: u32) -> vec4<f32> {
  var values = vec4<f32>();
  if (token < step.count) {
    let at = token * params.cols + col;
    if (ALIGNED) {
      return x[at / 4];
    }
    for (var i = 0u; i < 4; i++) {
      if (col + i < params.cols) {
        values[i] = x[(at + i) / 4][(at + i) % 4];
      }
    }
  }
  return values;
}

// The same of four neighbouring tokens, one a column.
fn four_tokens(token: u32, col: u32) -> mat4x4<f32> {
  return mat4x4<f32>(
    token_input(token, col), token_input(token + 1, col), token_input(token + 2, col), token_input(token + 3, col));
}
