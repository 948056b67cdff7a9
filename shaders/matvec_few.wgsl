// matvec_few: Y[t, offset + n] (+)= W[n, :] . norm(X[t, :]) (+ bias[n]) for a few tokens
//
//   Each token gets matvec's own numbers.
// With NORM, norm(x) = x * norm / sqrt(mean(x^2) + eps); without, norm(x) = x. ADD adds to what y holds.
// A team of LANES lanes computes ROWS rows for TOKENS tokens, see lib/team_few.wgsl. LEAVES as in matvec.
//
//   quants  u32x4 [N, blocks, …]    read        a part of W, see docs/architecture.md
//   scales  u32 [N, blocks, …]      read
//   x       f32x4 [T, K / 4]        read        4 divides K; or as lib/left_input.wgsl says
//   norm    f32x4 [K / 4]           read        used with NORM, or f32x4 [N / 4] with LEAVES
//   bias    f32 [rows of W]         read        used with BIAS
//   y       f32 as u32 [T, y_stride]  read_write  rows of tokens that are not there are left alone
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
  x_start: u32,    // where the inputs were left in x, in vectors
  left_start: u32, // where the results are left in y
}

@group(0) @binding(0) var<storage, read> quants: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> scales: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<Given>;
@group(0) @binding(3) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<u32>;
@group(0) @binding(6) var<storage, read> step: Step;
@group(0) @binding(7) var<uniform> params: Params;

override ADD: bool = false;
override BIAS: bool = false;

//#include team_few
//#include leaving

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
  var gain = 1.0;
  if (writes) { // early, so that these loads wait together with those of the weights
    if (BIAS) {
      value += bias[params.bias_start + row];
    }
    if (ADD) {
      value += bitcast<f32>(y[at]);
    }
    if (LEAVES > 0) {
      gain = norm[(params.y_start + row) / 4][(params.y_start + row) % 4];
    }
  }
  let rows = first + local / LANES + vec4<u32>(0, TEAMS, 2 * TEAMS, 3 * TEAMS);
  sum_rows(min(rows, vec4<u32>(params.rows - 1)) * params.blocks, token, count, local);
  if (writes) {
    value += total(t, n) * norm_factor(t);
    y[at] = bitcast<u32>(value);
  }
  if (LEAVES > 0) {
    leave(local, value, gain, params.y_start + row, params.left_start, token + t, writes);
  }
}
