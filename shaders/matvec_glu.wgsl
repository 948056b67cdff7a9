// matvec_glu: y[f] = act(W[f, :] . norm(x)) * (W[F + f, :] . norm(x))
//
// norm as in matvec. A team of LANES lanes computes ROWS / 2 elements of y; lane l takes the blocks l, l + LANES, …
// Where W is split between the two rows of an element, STAGE 1 writes act(gate) alone and STAGE 2 multiplies by up.
//
//   quants  u32x4 [N, blocks, …]  read        a part of W, see docs/architecture.md
//   scales  u32 [N, blocks, …]    read
//   x       f32x4 [ceil(K / 4)]   read
//   norm    f32x4 [ceil(K / 4)]   read        used with NORM
//   y       f32 [F]               read_write
//   params  Params                uniform
//   grid    spread(ceil(rows / (TEAMS * ROWS / 2)))

struct Params {
  rows: u32,    // elements of y to compute
  cols: u32,    // K
  blocks: u32,  // in a row
  y_start: u32, // the first element
  gate: u32,    // row of this part with its W[f, :]
  up: u32,      // row of this part with its W[F + f, :]
  eps: f32,
}

@group(0) @binding(0) var<storage, read> quants: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> scales: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

override STAGE: u32 = 0;
override LANES: u32 = 32; // a power of two
override TEAMS: u32 = 2;
override ROWS: u32 = 2;   // 2 or 4

//#include weight
//#include normed_input
//#include activation

var<workgroup> partial: array<vec4<f32>, LANES * TEAMS>; // gate, up, gate, up
var<workgroup> partial_squares: array<f32, LANES * TEAMS>;

fn store(row: u32, gate: f32, up: f32) {
  if (row < params.rows) {
    let at = params.y_start + row;
    if (STAGE == 0) {
      y[at] = activate(gate) * up;
    } else if (STAGE == 1) {
      y[at] = activate(gate);
    } else {
      y[at] *= up;
    }
  }
}

@compute @workgroup_size(LANES * TEAMS)
fn matvec_glu(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let lane = local % LANES;
  let first = (group.x + group.y * groups.x) * TEAMS * (ROWS / 2) + local / LANES;
  let row0 = min(first, params.rows - 1);
  let row1 = min(first + TEAMS, params.rows - 1);
  let starts = (vec4<u32>(params.gate, params.up, params.gate, params.up)
    + vec4<u32>(row0, row0, row1, row1)) * params.blocks;
  var sums = vec4<f32>();
  var squares = 0.0;
  for (var block = lane; block < params.blocks; block += LANES) {
    var input = load_input(block);
    squares += input.squares;
    if (STAGE != 2) {
      sums.x += weight_dot(starts.x + block, &input.values, input.sum);
    }
    if (STAGE != 1) {
      sums.y += weight_dot(starts.y + block, &input.values, input.sum);
    }
    if (ROWS > 2 && STAGE != 2) {
      sums.z += weight_dot(starts.z + block, &input.values, input.sum);
    }
    if (ROWS > 2 && STAGE != 1) {
      sums.w += weight_dot(starts.w + block, &input.values, input.sum);
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
    store(first, sums.x, sums.y);
    if (ROWS > 2) {
      store(first + TEAMS, sums.z, sums.w);
    }
  }
}
