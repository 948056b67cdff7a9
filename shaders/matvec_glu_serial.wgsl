// matvec_glu_serial: y[f] = act(W[f, :] . norm(x)) * (W[F + f, :] . norm(x)), as matvec_glu, without barriers
//
// For CPU adapters: each lane computes ROWS / 2 elements of y, LANES apart, alone; their gates first, then their ups.
// Where W is split between the two rows of an element, STAGE 1 writes act(gate) alone and STAGE 2 multiplies by up.
//
//   quants  u32x4 [N, blocks, …]  read        a part of W, see docs/architecture.md
//   scales  u32 [N, blocks, …]    read
//   x       f32x4 [ceil(K / 4)]   read
//   norm    f32x4 [ceil(K / 4)]   read        used with NORM
//   y       f32 [F]               read_write
//   params  Params                uniform
//   grid    spread(ceil(rows / (LANES * ROWS / 2)))

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
override LANES: u32 = 4;

//#include serial_rows
//#include activation

@compute @workgroup_size(LANES)
fn matvec_glu_serial(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let half = ROWS / 2;
  let first = (group.x + group.y * groups.x) * LANES * half + lane;
  for (var i = 0u; i < half; i++) {
    let row = min(first + i * LANES, params.rows - 1);
    starts[i] = (params.gate + row) * params.blocks;
    starts[i + half] = (params.up + row) * params.blocks;
  }
  sum_rows();
  for (var i = 0u; i < half; i++) {
    let row = first + i * LANES;
    if (row < params.rows) {
      let at = params.y_start + row;
      if (STAGE == 0) {
        y[at] = activate(sums[i]) * sums[i + half];
      } else if (STAGE == 1) {
        y[at] = activate(sums[i]);
      } else {
        y[at] *= sums[i + half];
      }
    }
  }
}
