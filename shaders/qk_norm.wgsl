// qk_norm: a[:] = a[:] / sqrt(mean(a[:]^2) + eps) * gain, in place, for the parts a of q and of k of each token
//
//   NORM 1: a part is a head, and gains are those of a q head, then of a k head. NORM 2: a part is all of q or of k,
//   and gains are those of all of q, then of all of k.
//
//   qkv     f32 [T, (H + 2K) E]   read_write  heads of q, then of k, then of v
//   gains   f32 [2, E]            read        NORM 2: [(H + K) E]
//   step    Step                  read
//   params  Params                uniform
//   grid    (H + K, T, 1)         NORM 2: (2, T, 1)

struct Params {
  heads: u32,
  kv_heads: u32,
  eps: f32,
}

//#include step

@group(0) @binding(0) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> gains: array<f32>;
@group(0) @binding(2) var<storage, read> step: Step;
@group(0) @binding(3) var<uniform> params: Params;

override LANES: u32 = 64;
override WIDTH: u32;
override NORM: u32;

var<workgroup> partial: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn qk_norm(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let of_k = select(group.x >= params.heads, group.x == 1, NORM == 2);
  let first = select(group.x, select(0, params.heads, of_k), NORM == 2) * WIDTH;
  let count = select(1, select(params.heads, params.kv_heads, of_k), NORM == 2) * WIDTH;
  let gain = select(select(0, WIDTH, of_k), first, NORM == 2);
  if (group.y >= step.count) {
    return;
  }
  let start = group.y * (params.heads + 2 * params.kv_heads) * WIDTH + first;
  var sum = 0.0;
  for (var i = lane; i < count; i += LANES) {
    sum += qkv[start + i] * qkv[start + i];
  }
  partial[lane] = sum;
  for (var half = LANES / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if (lane < half) {
      partial[lane] += partial[lane + half];
    }
  }
  workgroupBarrier();
  let factor = inverseSqrt(partial[0] / f32(count) + params.eps);
  for (var i = lane; i < count; i += LANES) {
    qkv[start + i] *= factor * gains[gain + i];
  }
}
