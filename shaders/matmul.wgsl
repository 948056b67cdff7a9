// matmul: Y[t, offset + n] (+)= X[t, :] . W[n, :] (+ bias[n]) for all T tokens
//
// A workgroup of 64 lanes computes 64 rows of W times 32 tokens, in steps of one block of 32 columns that all lanes
// share through workgroup memory; a lane keeps 8 rows x 4 tokens of sums. Rows and tokens of a lane lie 8 apart, and
// the tiles are stored column first, so that neighbouring lanes read neighbouring vectors.
//
//   quants  u32x4 [N, blocks, …]      read        a part of W, see docs/architecture.md
//   scales  u32 [N, blocks, …]        read
//   x       f32x4 [ceil(T * K / 4)]   read
//   bias    f32 [rows of W]           read        used with BIAS
//   y       f32 [T, y_stride]         read_write
//   step    Step                      read
//   params  Params                    uniform
//   grid    (ceil(T / 32), ceil(N / 64), 1)

struct Params {
  rows: u32,     // N, of this part
  cols: u32,     // K
  blocks: u32,   // in a row
  y_stride: u32,
  y_start: u32,  // column of y for row 0 of this part
  bias_start: u32,
}

//#include step

@group(0) @binding(0) var<storage, read> quants: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> scales: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read> step: Step;
@group(0) @binding(6) var<uniform> params: Params;

override ADD: bool = false;
override BIAS: bool = false;

//#include weight
//#include token_input

const X_STRIDE = 33u; // one more than the tokens, against bank conflicts

var<workgroup> w_tile: array<vec4<f32>, 8 * 64>;       // [K / 4, row]
var<workgroup> x_tile: array<vec4<f32>, 8 * X_STRIDE>; // [K / 4, token]

fn store(row: u32, token: u32, sums: vec4<f32>) {
  if (row >= params.rows) {
    return;
  }
  for (var i = 0u; i < 4; i++) {
    let t = token + 8 * i;
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

@compute @workgroup_size(64)
fn matmul(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first_token = group.x * 32;
  let first_row = group.y * 64;
  let start = min(first_row + lane, params.rows - 1) * params.blocks;
  let r = lane % 8;
  let t = lane / 8;
  var s0 = vec4<f32>();
  var s1 = vec4<f32>();
  var s2 = vec4<f32>();
  var s3 = vec4<f32>();
  var s4 = vec4<f32>();
  var s5 = vec4<f32>();
  var s6 = vec4<f32>();
  var s7 = vec4<f32>();
  for (var block = 0u; block < params.blocks; block++) {
    let weights = weight_block(start + block);
    w_tile[lane] = weights[0];
    w_tile[64 + lane] = weights[1];
    w_tile[128 + lane] = weights[2];
    w_tile[192 + lane] = weights[3];
    w_tile[256 + lane] = weights[4];
    w_tile[320 + lane] = weights[5];
    w_tile[384 + lane] = weights[6];
    w_tile[448 + lane] = weights[7];
    for (var i = 0u; i < 4; i++) {
      let token = i * 8 + lane / 8;
      x_tile[lane % 8 * X_STRIDE + token] = token_input(first_token + token, block * 32 + lane % 8 * 4);
    }
    workgroupBarrier();
    for (var k = 0u; k < 8; k++) {
      let from_x = k * X_STRIDE + t;
      let from_w = k * 64 + r;
      let xs = mat4x4<f32>(x_tile[from_x], x_tile[from_x + 8], x_tile[from_x + 16], x_tile[from_x + 24]);
      s0 += w_tile[from_w] * xs;
      s1 += w_tile[from_w + 8] * xs;
      s2 += w_tile[from_w + 16] * xs;
      s3 += w_tile[from_w + 24] * xs;
      s4 += w_tile[from_w + 32] * xs;
      s5 += w_tile[from_w + 40] * xs;
      s6 += w_tile[from_w + 48] * xs;
      s7 += w_tile[from_w + 56] * xs;
    }
    workgroupBarrier();
  }
  let row = first_row + r;
  let token = first_token + t;
  store(row, token, s0);
  store(row + 8, token, s1);
  store(row + 16, token, s2);
  store(row + 24, token, s3);
  store(row + 32, token, s4);
  store(row + 40, token, s5);
  store(row + 48, token, s6);
  store(row + 56, token, s7);
}
