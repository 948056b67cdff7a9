// matvec_glu: y[f] = act(W[f, :] . norm(x)) * (W[F + f, :] . norm(x))
//
// norm as in matvec. A team of LANES lanes computes ROWS / 2 elements of y, see lib/team_rows.wgsl.
// Where W is split between the two rows of an element, STAGE 1 writes act(gate) alone and STAGE 2 multiplies by up.
// With LEAVES, y is left as bytes only, for the next product, see lib/leaving_bytes.wgsl.
//
//   quants  u32x4 [N, blocks, …]  read        a part of W, see docs/architecture.md
//   scales  u32 [N, blocks, …]    read
//   x       f32x4 [ceil(K / 4)]   read        or as lib/left_input.wgsl says
//   norm    f32x4 [ceil(K / 4)]   read        used with NORM
//   y       f32 [F] as u32        read_write
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
  x_start: u32, // where the input was left in x, in vectors
}

@group(0) @binding(0) var<storage, read> quants: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> scales: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<Given>;
@group(0) @binding(3) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;

override STAGE: u32 = 0;

//#include team_rows
//#include activation
//#include leaving

@compute @workgroup_size(LANES * TEAMS)
fn matvec_glu(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let team = local / LANES;
  let first = (group.x + group.y * groups.x) * TEAMS * (ROWS / 2);
  let elements = min(first + team + vec4<u32>(0, 0, TEAMS, TEAMS), vec4<u32>(params.rows - 1));
  sum_rows((elements + vec4<u32>(params.gate, params.up, params.gate, params.up)) * params.blocks, 0, 1, local);
  let element = first + local;
  let writes = local < TEAMS * (ROWS / 2) && element < params.rows;
  let at = params.y_start + element;
  var value = 0.0;
  if (writes) {
    let scale = norm_factor(0);
    let gate = total(0, local + local / TEAMS * TEAMS) * scale; // rows of partial: gates, ups, gates, ups of all teams
    let up = total(0, local + local / TEAMS * TEAMS + TEAMS) * scale;
    if (STAGE == 0) {
      value = activate(gate) * up;
    } else if (STAGE == 1) {
      value = activate(gate);
    } else {
      value = bitcast<f32>(y[at]) * up;
    }
    if (LEAVES == 0) {
      y[at] = bitcast<u32>(value);
    }
  }
  if (LEAVES > 0) {
    leave(local, value, 1, at, 0, 0, writes);
  }
}
