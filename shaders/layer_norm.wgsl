// layer_norm: x[t, :] = (x[t, :] - mean(x[t, :])) / sqrt(variance(x[t, :]) + eps) * weight + bias, in place
//
//   x       f32 [T, D]   read_write
//   weight  f32 [D]      read
//   bias    f32 [D]      read
//   params  Params       uniform
//   grid    (T, 1, 1)    one workgroup per token

struct Params {
  width: u32,
  eps: f32,
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

override LANES: u32 = 64;

var<workgroup> partial: array<f32, LANES>;

// The sum over all lanes, for every lane.
fn total(own: f32, lane: u32) -> f32 {
  partial[lane] = own;
  for (var half = LANES / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if (lane < half) {
      partial[lane] += partial[lane + half];
    }
  }
  workgroupBarrier();
  let sum = partial[0];
  workgroupBarrier();
  return sum;
}

@compute @workgroup_size(LANES)
fn layer_norm(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let start = group.x * params.width;
  var sum = 0.0;
  for (var i = lane; i < params.width; i += LANES) {
    sum += x[start + i];
  }
  let mean = total(sum, lane) / f32(params.width);
  var squares = 0.0;
  for (var i = lane; i < params.width; i += LANES) {
    squares += (x[start + i] - mean) * (x[start + i] - mean);
  }
  let scale = inverseSqrt(total(squares, lane) / f32(params.width) + params.eps);
  for (var i = lane; i < params.width; i += LANES) {
    x[start + i] = (x[start + i] - mean) * scale * weight[i] + bias[i];
  }
}
