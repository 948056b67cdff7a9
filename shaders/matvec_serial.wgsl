// matvec_serial: y[offset + n] (+)= W[n, :] . norm(x) (+ bias[n]), as matvec, without barriers
//
// For CPU adapters: each lane computes ROWS rows, LANES apart, alone.
//
//   quants  u32x4 [N, blocks, …]  read        a part of W, see docs/architecture.md
//   scales  u32 [N, blocks, …]    read
//   x       f32x4 [ceil(K / 4)]   read
//   norm    f32x4 [ceil(K / 4)]   read        used with NORM
//   bias    f32 [rows of W]       read        used with BIAS
//   y       f32                   read_write
//   params  Params                uniform
//   grid    spread(ceil(N / (LANES * ROWS)))

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
override LANES: u32 = 4;

//#include serial_rows

@compute @workgroup_size(LANES)
fn matvec_serial(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let first = (group.x + group.y * groups.x) * LANES * ROWS + lane;
  for (var i = 0u; i < ROWS; i++) {
    starts[i] = min(first + i * LANES, params.rows - 1) * params.blocks;
  }
  sum_rows();
  for (var i = 0u; i < ROWS; i++) {
    let row = first + i * LANES;
    if (row < params.rows) {
      let at = params.y_start + row;
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
