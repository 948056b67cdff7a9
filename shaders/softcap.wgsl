// softcap: x = cap * tanh(x / cap), in place
//
//   x       f32 [count]  read_write
//   params  Params       uniform
//   grid    spread(ceil(count / 64))  one invocation per element

struct Params {
  count: u32,
  cap: f32,
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<uniform> params: Params;

@compute @workgroup_size(64)
fn softcap(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let at = (group.x + group.y * groups.x) * 64 + lane;
  if (at < params.count) {
    x[at] = params.cap * tanh(clamp(x[at] / params.cap, -10, 10)); // tanh of large numbers is NaN in some drivers
  }
}
