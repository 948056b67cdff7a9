// glu: y[t, f] = act(x[t, f]) * x[t, F + f]
//
//   x       f32 [T, 2F]              read
//   y       f32 [T, F]               read_write
//   step    Step                     read
//   params  Params                   uniform
//   grid    (ceil(F / LANES), T)     one invocation per element

struct Params {
  width: u32, // F
}

//#include step
//#include activation

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> step: Step;
@group(0) @binding(3) var<uniform> params: Params;

override LANES: u32 = 64;

@compute @workgroup_size(LANES)
fn glu(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x < params.width && id.y < step.count) {
    let at = id.y * 2 * params.width + id.x;
    y[id.y * params.width + id.x] = activate(x[at]) * x[at + params.width];
  }
}
