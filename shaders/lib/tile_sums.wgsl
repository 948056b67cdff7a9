// A product with many tokens: its parameters, sums of a row's four columns with four tokens, and where the sums go in
// y [T, y_stride]. Uses step, bias, y and params of the kernel's module scope.

struct Params {
  rows: u32,     // N, of this part
  cols: u32,     // K
  blocks: u32,   // in a row
  y_stride: u32,
  y_start: u32,  // column of y for row 0 of this part
  bias_start: u32,
}

override ADD: bool = false;  // to what y holds
override BIAS: bool = false;

fn times(w: vec4<f32>, x: mat4x4<f32>, sums: vec4<f32>) -> vec4<f32> {
  let half = fma(vec4<f32>(w.y), x[1], fma(vec4<f32>(w.x), x[0], sums));
  return fma(vec4<f32>(w.w), x[3], fma(vec4<f32>(w.z), x[2], half));
}

fn store(row: u32, token: u32, sums: vec4<f32>) {
  if (row >= params.rows) {
    return;
  }
  for (var i = 0u; i < 4; i++) {
    let t = token + i;
    if (t < step.count) {
      let at = t * params.y_stride + params.y_start + row;
      var value = sums[i];
      if (BIAS) {
        value += bias[params.bias_start + row];
      }
      if (ADD) {
        value += y[at];
      }
      y[at] = value;
    }
  }
}
