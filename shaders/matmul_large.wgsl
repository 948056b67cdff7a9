// matmul_large: Y[t, offset + n] (+)= X[t, :] . W[n, :] (+ bias[n]) for all T tokens; matmul for large W and many T
//
// A workgroup of LANES (64 or 128) lanes computes LANES rows of W times 64 tokens, in steps of one block of 32 columns
// that all lanes share through workgroup memory (16 or 24 KiB); a lane keeps 8 rows (LANES / 8 apart) x 8 tokens (two
// times 4 neighbours) of sums, so that what it reads of the tiles serves twice as many products as in matmul.
//
//   quants  u32x4 [N, blocks, …]      read        a part of W, see docs/architecture.md
//   scales  u32 [N, blocks, …]        read
//   x       f32x4 [ceil(T * K / 4)]   read
//   bias    f32 [rows of W]           read        used with BIAS
//   y       f32 [T, y_stride]         read_write
//   step    Step                      read
//   params  Params                    uniform
//   grid    (ceil(T / 64), ceil(N / LANES), 1)

//#include step

@group(0) @binding(0) var<storage, read> quants: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> scales: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read> step: Step;
@group(0) @binding(6) var<uniform> params: Params;

override LANES: u32 = 64;
override STEP: u32 = LANES / 8; // between a lane's rows

//#include weight
//#include token_input
//#include tile_sums

var<workgroup> w_tile: array<vec4<f32>, 8 * LANES>; // [K / 4, row], four columns each
var<workgroup> x_tile: array<vec4<f32>, 32 * 16>;   // [K, T / 4], four tokens each

fn stage_w(weights: array<vec4<f32>, 8>, lane: u32) {
  w_tile[lane] = weights[0];
  w_tile[LANES + lane] = weights[1];
  w_tile[2 * LANES + lane] = weights[2];
  w_tile[3 * LANES + lane] = weights[3];
  w_tile[4 * LANES + lane] = weights[4];
  w_tile[5 * LANES + lane] = weights[5];
  w_tile[6 * LANES + lane] = weights[6];
  w_tile[7 * LANES + lane] = weights[7];
}

fn stage_x(first_token: u32, first_col: u32, lane: u32) {
  let four = lane % 16;
  for (var quad = lane / 16; quad < 8; quad += LANES / 16) {
    let by_column = transpose(four_tokens(first_token + four * 4, first_col + quad * 4));
    let at = quad * 64 + four;
    x_tile[at] = by_column[0];
    x_tile[at + 16] = by_column[1];
    x_tile[at + 32] = by_column[2];
    x_tile[at + 48] = by_column[3];
  }
}

fn both(w: vec4<f32>, a: mat4x4<f32>, b: mat4x4<f32>, sums: mat2x4<f32>) -> mat2x4<f32> {
  return mat2x4<f32>(times(w, a, sums[0]), times(w, b, sums[1]));
}

@compute @workgroup_size(LANES)
fn matmul_large(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first_token = group.x * 64;
  let first_row = group.y * LANES;
  if (first_token >= step.count) { // a grid for more tokens than there are
    return;
  }
  let start = min(first_row + lane, params.rows - 1) * params.blocks;
  let r = lane % STEP;
  let t = lane / STEP;
  var s0 = mat2x4<f32>();
  var s1 = mat2x4<f32>();
  var s2 = mat2x4<f32>();
  var s3 = mat2x4<f32>();
  var s4 = mat2x4<f32>();
  var s5 = mat2x4<f32>();
  var s6 = mat2x4<f32>();
  var s7 = mat2x4<f32>();
  for (var block = 0u; block < params.blocks; block++) {
    stage_w(weight_block(fetch(start + block)), lane);
    stage_x(first_token, block * 32, lane);
    workgroupBarrier();
    for (var k = 0u; k < 8; k++) {
      let from_x = k * 64 + t;
      let from_w = k * LANES + r;
      let a = mat4x4<f32>(x_tile[from_x], x_tile[from_x + 16], x_tile[from_x + 32], x_tile[from_x + 48]);
      let b = mat4x4<f32>(x_tile[from_x + 8], x_tile[from_x + 24], x_tile[from_x + 40], x_tile[from_x + 56]);
      s0 = both(w_tile[from_w], a, b, s0);
      s1 = both(w_tile[from_w + STEP], a, b, s1);
      s2 = both(w_tile[from_w + 2 * STEP], a, b, s2);
      s3 = both(w_tile[from_w + 3 * STEP], a, b, s3);
      s4 = both(w_tile[from_w + 4 * STEP], a, b, s4);
      s5 = both(w_tile[from_w + 5 * STEP], a, b, s5);
      s6 = both(w_tile[from_w + 6 * STEP], a, b, s6);
      s7 = both(w_tile[from_w + 7 * STEP], a, b, s7);
    }
    workgroupBarrier();
  }
  let sums = array<mat2x4<f32>, 8>(s0, s1, s2, s3, s4, s5, s6, s7);
  for (var i = 0u; i < 8; i++) {
    store(first_row + r + i * STEP, first_token + t * 4, sums[i][0]);
    store(first_row + r + i * STEP, first_token + 32 + t * 4, sums[i][1]);
  }
}
