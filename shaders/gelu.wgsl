// gelu: x = x * Phi(x) in place, Phi being the normal distribution's: the exact form, not the one with tanh
//
//   erf as in Abramowitz and Stegun 7.1.26, to 1.5e-7.
//
//   x       f32 [count]  read_write
//   params  Params       uniform
//   grid    spread(ceil(count / 64))  one invocation per element

struct Params {
  count: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<uniform> params: Params;

fn erf_of_positive(z: f32) -> f32 {
  let t = 1 / (1 + 0.3275911 * z);
  let series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return 1 - series * exp(-min(z * z, 80));
}

@compute @workgroup_size(64)
fn gelu(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let at = (group.x + group.y * groups.x) * 64 + lane;
  if (at < params.count) {
    let value = x[at];
    x[at] = value * (0.5 + 0.5 * sign(value) * erf_of_positive(abs(value) * 0.7071067811865476));
  }
}
