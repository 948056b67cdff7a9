// matmul: Y[t, offset + n] (+)= X[t, :] . W[n, :] (+ bias[n]) for all T tokens
//
// A workgroup of 64 lanes computes 64 rows of W times 32 tokens, in steps of one block of 32 columns that all lanes
// share through workgroup memory; a lane keeps 8 rows (8 apart) x 4 tokens (neighbours) of sums. The tiles are stored
// column first, so that neighbouring lanes read neighbouring vectors, and x transposed, as vectors of four tokens.
//
//   quants  u32x4 [N, blocks, …]      read        a part of W, see docs/architecture.md
//   scales  u32 [N, blocks, …]        read
//   x       f32x4 [ceil(T * K / 4)]   read
//   bias    f32 [rows of W]           read        used with BIAS
//   y       f32 [T, y_stride]         read_write
//   step    Step                      read
//   params  Params                    uniform
//   grid    (ceil(T / 32), ceil(N / 64), 1)

//#include step

@group(0) @binding(0) var<storage, read> quants: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> scales: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read> step: Step;
@group(0) @binding(6) var<uniform> params: Params;

//#include weight
//#include token_input
//#include tile_sums

var<workgroup> w_tile: array<vec4<f32>, 8 * 64>; // [K / 4, row], four columns each
var<workgroup> x_tile: array<vec4<f32>, 32 * 8>; // [K, T / 4], four tokens each

fn stage(weights: array<vec4<f32>, 8>, inputs: mat4x4<f32>, lane: u32) {
  w_tile[lane] = weights[0];
  w_tile[64 + lane] = weights[1];
  w_tile[128 + lane] = weights[2];
  w_tile[192 + lane] = weights[3];
  w_tile[256 + lane] = weights[4];
  w_tile[320 + lane] = weights[5];
  w_tile[384 + lane] = weights[6];
  w_tile[448 + lane] = weights[7];
  let to_x = lane / 8 * 32 + lane % 8;
  let by_column = transpose(inputs);
  x_tile[to_x] = by_column[0];
  x_tile[to_x + 8] = by_column[1];
  x_tile[to_x + 16] = by_column[2];
  x_tile[to_x + 24] = by_column[3];
}

@compute @workgroup_size(64)
fn matmul(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first_token = group.x * 32;
  let first_row = group.y * 64;
  if (first_token >= step.count) { // a grid for more tokens than there are
    return;
  }
  let start = min(first_row + lane, params.rows - 1) * params.blocks;
  let token_to_stage = first_token + lane % 8 * 4;
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
    let inputs = four_tokens(token_to_stage, block * 32 + lane / 8 * 4);
    stage(weight_block(fetch(start + block)), inputs, lane);
    workgroupBarrier();
    for (var k = 0u; k < 8; k++) {
      let from_x = k * 32 + t;
      let from_w = k * 64 + r;
      let xs = mat4x4<f32>(x_tile[from_x], x_tile[from_x + 8], x_tile[from_x + 16], x_tile[from_x + 24]);
      s0 = times(w_tile[from_w], xs, s0);
      s1 = times(w_tile[from_w + 8], xs, s1);
      s2 = times(w_tile[from_w + 16], xs, s2);
      s3 = times(w_tile[from_w + 24], xs, s3);
      s4 = times(w_tile[from_w + 32], xs, s4);
      s5 = times(w_tile[from_w + 40], xs, s5);
      s6 = times(w_tile[from_w + 48], xs, s6);
      s7 = times(w_tile[from_w + 56], xs, s7);
    }
    workgroupBarrier();
  }
  let sums = array<vec4<f32>, 8>(s0, s1, s2, s3, s4, s5, s6, s7);
  for (var i = 0u; i < 8; i++) {
    store(first_row + r + 8 * i, first_token + t * 4, sums[i]);
  }
}
