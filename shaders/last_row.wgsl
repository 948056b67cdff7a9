// last_row: y = x[count - 1, :]
//
//   x       f32 [T, D]          read
//   y       f32 [D]             read_write
//   step    Step                read
//   params  Params              uniform
//   grid    (ceil(D / LANES))   one invocation per element

struct Params {
  width: u32, // D
}

//#include step

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> step: Step;
@group(0) @binding(3) var<uniform> params: Params;

override LANES: u32 = 64;

@compute @workgroup_size(LANES)
fn last_row(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x < params.width) {
    y[id.x] = x[(step.count - 1) * params.width + id.x];
  }
}
