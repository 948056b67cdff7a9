// matvec_few_glu: Y[t, f] = act(W[f, :] . norm(X[t, :])) * (W[F + f, :] . norm(X[t, :]))
//
// Each token gets matvec_glu's own numbers. norm as in matvec_few. A team of LANES lanes computes ROWS / 2 elements of
// y for TOKENS tokens, see lib/team_few.wgsl. LEAVES as in matvec_glu.
//
//   quants  u32x4 [2F, blocks, …]   read        W, see docs/architecture.md
//   scales  u32 [2F, blocks, …]     read
//   x       f32x4 [T, K / 4]        read        4 divides K; or as lib/left_input.wgsl says
//   norm    f32x4 [K / 4]           read        used with NORM
//   y       f32 [T, F] as u32       read_write  rows of tokens that are not there are left alone
//   step    Step                    read
//   params  Params                  uniform
//   grid    spread(ceil(F / (TEAMS * ROWS / 2))), T / TOKENS rounded up as z

//#include step

struct Params {
  rows: u32,    // F
  cols: u32,    // K
  blocks: u32,  // in a row
  eps: f32,
  x_start: u32, // where the inputs were left in x, in vectors
}

@group(0) @binding(0) var<storage, read> quants: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> scales: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<Given>;
@group(0) @binding(3) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<u32>;
@group(0) @binding(5) var<storage, read> step: Step;
@group(0) @binding(6) var<uniform> params: Params;

//#include team_few
//#include activation
//#include leaving

@compute @workgroup_size(LANES * TEAMS)
fn matvec_few_glu(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let token = group.z * TOKENS;
  if (token >= step.count) {
    return;
  }
  let count = min(step.count - token, TOKENS);
  let first = (group.x + group.y * groups.x) * TEAMS * (ROWS / 2);
  let elements = min(first + local / LANES + vec4<u32>(0, 0, TEAMS, TEAMS), vec4<u32>(params.rows - 1));
  let rows = elements + vec4<u32>(0, params.rows, 0, params.rows);
  sum_rows(rows * params.blocks, token, count, local);
  let t = local / (TEAMS * (ROWS / 2));
  let n = local % (TEAMS * (ROWS / 2));
  let writes = t < count && first + n < params.rows;
  var value = 0.0;
  if (writes) {
    let scale = norm_factor(t);
    let gate = total(t, n + n / TEAMS * TEAMS) * scale; // rows: gates, ups, gates, ups of all teams
    let up = total(t, n + n / TEAMS * TEAMS + TEAMS) * scale;
    value = activate(gate) * up;
    if (LEAVES == 0) {
      y[(token + t) * params.rows + first + n] = bitcast<u32>(value);
    }
  }
  if (LEAVES > 0) {
    leave(local, value, 1, first + n, 0, token + t, writes);
  }
}
