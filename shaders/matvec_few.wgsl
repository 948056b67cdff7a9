// matvec_few: Y[t, offset + n] (+)= W[n, :] . norm(X[t, :]) (+ bias[n]) for a few tokens
//
//   Each token gets matvec's own numbers.
// With NORM, norm(x) = x * norm / sqrt(mean(x^2) + eps); without, norm(x) = x. ADD adds to what y holds.
// A team of LANES lanes computes ROWS rows for TOKENS tokens, see lib/team_few.wgsl.
//
//   quants  u32x4 [N, blocks, …]    read        a part of W, see docs/architecture.md
//   scales  u32 [N, blocks, …]      read
//   x       f32x4 [T, K / 4]        read        4 divides K
//   norm    f32x4 [K / 4]           read        used with NORM
//   bias    f32 [rows of W]         read        used with BIAS
//   y       f32 [T, y_stride]       read_write  rows of tokens that are not there are left alone
//   step    Step                    read
//   params  Params                  uniform
//   grid    spread(ceil(N / (TEAMS * ROWS))), T / TOKENS rounded up as z

//#include step

struct Params {
  rows: u32,     // N, of this part
  cols: u32,     // K
  blocks: u32,   // in a row
  y_stride: u32,
  y_start: u32,  // column of y for row 0 of this part
  bias_start: u32,
  eps: f32,
}

@group(0) @binding(0) var<storage, read> quants: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> scales: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<storage, read> step: Step;
@group(0) @binding(7) var<uniform> params: Params;

override ADD: bool = false;
override BIAS: bool = false;

//#include team_few

@compute @workgroup_size(LANES * TEAMS)
fn matvec_few(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let token = group.z * TOKENS;
  if (token >= step.count) {
    return;
  }
  let count = min(step.count - token, TOKENS);
  let first = (group.x + group.y * groups.x) * TEAMS * ROWS;
  let t = local / (TEAMS * ROWS);
  let n = local % (TEAMS * ROWS);
  let row = first + n;
  let writes = t < count && row < params.rows;
  let at = (token + t) * params.y_stride + params.y_start + row;
  var value = 0.0;
  if (writes) { // early, so that these loads wait together with those of the weights
    if (BIAS) {
      value += bias[params.bias_start + row];
    }
    if (ADD) {
      value += y[at];
    }
  }
  let rows = first + local / LANES + vec4<u32>(0, TEAMS, 2 * TEAMS, 3 * TEAMS);
  sum_rows(min(rows, vec4<u32>(params.rows - 1)) * params.blocks, token, count, local);
  if (writes) {
    y[at] = value + total(t, n) * norm_factor(t);
  }
}
