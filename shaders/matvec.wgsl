// matvec: y[offset + n] (+)= W[n, :] . norm(x) (+ bias[n])
//
// With NORM, norm(x) = x * norm / sqrt(mean(x^2) + eps); without, norm(x) = x. ADD adds to what y holds.
// A team of LANES lanes computes ROWS rows, see lib/team_rows.wgsl. With LEAVES, y times norm is left as bytes, too,
// for the next product, see lib/leaving_bytes.wgsl.
//
//   quants  u32x4 [N, blocks, …]  read        a part of W, see docs/architecture.md
//   scales  u32 [N, blocks, …]    read
//   x       f32x4 [ceil(K / 4)]   read        or as lib/left_input.wgsl says
//   norm    f32x4 [ceil(K / 4)]   read        used with NORM, or f32x4 [N / 4] with LEAVES
//   bias    f32 [rows of W]       read        used with BIAS
//   y       f32 as u32            read_write
//   params  Params                uniform
//   grid    spread(ceil(N / (TEAMS * ROWS)))

struct Params {
  rows: u32,     // N, of this part
  cols: u32,     // K
  blocks: u32,   // in a row
  y_start: u32,  // where row 0 of this part goes in y
  bias_start: u32,
  eps: f32,
  x_start: u32,    // where the input was left in x, in vectors
  left_start: u32, // where the result is left in y
}

@group(0) @binding(0) var<storage, read> quants: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> scales: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<Given>;
@group(0) @binding(3) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<u32>;
@group(0) @binding(6) var<uniform> params: Params;

override ADD: bool = false;
override BIAS: bool = false;

//#include team_rows
//#include leaving

@compute @workgroup_size(LANES * TEAMS)
fn matvec(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let first = (group.x + group.y * groups.x) * TEAMS * ROWS;
  let row = first + local;
  let at = params.y_start + row;
  let writes = local < TEAMS * ROWS && row < params.rows;
  var value = 0.0;
  var gain = 1.0;
  if (writes) { // early, so that these loads wait together with those of the weights
    if (BIAS) {
      value += bias[params.bias_start + row];
    }
    if (ADD) {
      value += bitcast<f32>(y[at]);
    }
    if (LEAVES > 0) {
      gain = norm[at / 4][at % 4];
    }
  }
  let rows = first + local / LANES + vec4<u32>(0, TEAMS, 2 * TEAMS, 3 * TEAMS);
  sum_rows(min(rows, vec4<u32>(params.rows - 1)) * params.blocks, 0, 1, local);
  if (writes) {
    value += total(0, local) * norm_factor(0);
    y[at] = bitcast<u32>(value);
  }
  if (LEAVES > 0) {
    leave(local, value, gain, at, params.left_start, 0, writes);
  }
}
