// matvec: y[offset + n] (+)= W[n, :] . norm(x) (+ bias[n])
//
// With NORM, norm(x) = x * norm / sqrt(mean(x^2) + eps); without, norm(x) = x. ADD adds to what y holds.
// A team of LANES lanes computes ROWS rows; lane l takes the blocks l, l + LANES, …
//
//   quants  u32x4 [N, blocks, …]  read        a part of W, see docs/architecture.md
//   scales  u32 [N, blocks, …]    read
//   x       f32x4 [ceil(K / 4)]   read
//   norm    f32x4 [ceil(K / 4)]   read        used with NORM
//   bias    f32 [rows of W]       read        used with BIAS
//   y       f32                   read_write
//   params  Params                uniform
//   grid    spread(ceil(N / (TEAMS * ROWS)))

struct Params {
  rows: u32,     // N, of this part
  cols: u32,     // K
  blocks: u32,   // in a row
  y_start: u32,  // where row 0 of this part goes in y
  bias_start: u32,
  eps: f32,
}

@group(0) @binding(0) var<storage, read> quants: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> scales: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

override ADD: bool = false;
override BIAS: bool = false;
override LANES: u32 = 32; // a power of two
override TEAMS: u32 = 2;
override ROWS: u32 = 1;   // 1 to 4

//#include weight
//#include normed_input

var<workgroup> partial: array<vec4<f32>, LANES * TEAMS>;
var<workgroup> partial_squares: array<f32, LANES * TEAMS>;

fn store(row: u32, sum: f32) {
  if (row < params.rows) {
    var value = sum;
    if (BIAS) {
      value += bias[params.bias_start + row];
    }
    if (ADD) {
      value += y[params.y_start + row];
    }
    y[params.y_start + row] = value;
  }
}

@compute @workgroup_size(LANES * TEAMS)
fn matvec(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let lane = local % LANES;
  let first = (group.x + group.y * groups.x) * TEAMS * ROWS + local / LANES;
  let last = params.rows - 1;
  let start0 = min(first, last) * params.blocks;
  let start1 = min(first + TEAMS, last) * params.blocks;
  let start2 = min(first + 2 * TEAMS, last) * params.blocks;
  let start3 = min(first + 3 * TEAMS, last) * params.blocks;
  var sums = vec4<f32>();
  var squares = 0.0;
  for (var block = lane; block < params.blocks; block += LANES) {
    var input = load_input(block);
    squares += input.squares;
    sums.x += weight_dot(start0 + block, &input.values, input.sum);
    if (ROWS > 1) {
      sums.y += weight_dot(start1 + block, &input.values, input.sum);
    }
    if (ROWS > 2) {
      sums.z += weight_dot(start2 + block, &input.values, input.sum);
    }
    if (ROWS > 3) {
      sums.w += weight_dot(start3 + block, &input.values, input.sum);
    }
  }
  if (LANES > 1) {
    partial[local] = sums;
    partial_squares[local] = squares;
    for (var half = LANES / 2; half > 0; half /= 2) {
      workgroupBarrier();
      if (lane < half) {
        partial[local] += partial[local + half];
        partial_squares[local] += partial_squares[local + half];
      }
    }
    sums = partial[local];
    squares = partial_squares[local];
  }
  if (NORM) {
    sums *= inverseSqrt(squares / f32(params.cols) + params.eps);
  }
  if (lane == 0) {
    store(first, sums.x);
    if (ROWS > 1) {
      store(first + TEAMS, sums.y);
    }
    if (ROWS > 2) {
      store(first + 2 * TEAMS, sums.z);
    }
    if (ROWS > 3) {
      store(first + 3 * TEAMS, sums.w);
    }
  }
}
