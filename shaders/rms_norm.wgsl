// rms_norm: y[t, :] (+)= x[t, :] / sqrt(mean(x[t, :]^2) + eps) * weight
//
//   ADD adds to what y holds.
//
//   x       f32 [T, D]   read
//   weight  f32 [D]      read
//   y       f32 [T, D]   read_write
//   params  Params       uniform
//   grid    (T, 1, 1)    one workgroup per token

struct Params {
  width: u32,
  eps: f32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

override LANES: u32 = 64;
override ADD: bool = false;

var<workgroup> partial: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn rms_norm(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let start = group.x * params.width;
  var sum = 0.0;
  for (var i = lane; i < params.width; i += LANES) {
    sum += x[start + i] * x[start + i];
  }
  partial[lane] = sum;
  for (var half = LANES / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if (lane < half) {
      partial[lane] += partial[lane + half];
    }
  }
  workgroupBarrier();
  let scale = inverseSqrt(partial[0] / f32(params.width) + params.eps);
  for (var i = lane; i < params.width; i += LANES) {
    let normed = x[start + i] * scale * weight[i];
    y[start + i] = select(normed, y[start + i] + normed, ADD);
  }
}
