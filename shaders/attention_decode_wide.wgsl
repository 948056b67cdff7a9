// attention_decode_wide: as attention_decode, for GPUs and an E that eight divides: 16 bytes of the cache a load
//
//   y[h, :] = softmax(q[h] · k[j] * scale) · v[j, :] over the positions j that one query sees
//
//   j <= step.position, and j > step.position - window where window > 0; softcap * tanh(s / softcap) where softcap > 0.
//   Positions come in chunks of LANES. First each lane scores one position, then the lanes divide into E/8 columns
//   and SLICES slices of positions. Online softmax: `top` is the highest score so far.
//
//   qkv      f32 [1, (H + 2K) E]   read         q rotated
//   k_cache  u32 [K, C, E/2]       read         f16 pairs
//   v_cache  u32 [K, C, E/2]       read         f16 pairs
//   y        f32 [1, H E]          read_write
//   step     Step                  read
//   params   Params                uniform
//   grid     (H, 1, 1)             one workgroup per head

//#include step
//#include order
//#include cache

struct Params {
  context: u32,
  window: u32,
  scale: f32,
  softcap: f32,
  heads: u32,
  kv_heads: u32,
}

@group(0) @binding(0) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k_cache: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> v_cache: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> step: Step;
@group(0) @binding(5) var<uniform> params: Params;

override WIDTH: u32;
override LANES: u32 = 256;
override COLUMNS: u32 = WIDTH / 8;
override SLICES: u32 = LANES / COLUMNS;

var<workgroup> weights: array<f32, LANES>;
var<workgroup> top: atomic<u32>;
var<workgroup> partial: array<mat2x4<f32>, LANES>;
var<workgroup> partial_sum: array<f32, LANES>;

fn score(head: u32, row: u32) -> f32 {
  var sum = 0.0;
  for (var e = 0u; e < COLUMNS; e++) {
    let k = k_cache[row * COLUMNS + e];
    let q = 2 * (head * COLUMNS + e);
    sum += dot(qkv[q], halves(k.xy)) + dot(qkv[q + 1], halves(k.zw));
  }
  return sum;
}

fn value(row: u32, column: u32) -> mat2x4<f32> {
  let v = v_cache[row * COLUMNS + column];
  return mat2x4(halves(v.xy), halves(v.zw));
}

@compute @workgroup_size(LANES)
fn attention_decode_wide(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let head = group.x;
  let row = head / (params.heads / params.kv_heads) * params.context;
  let end = min(step.position + 1, params.context);
  let column = lane % COLUMNS;
  let slice = lane / COLUMNS;

  var highest = MASKED;
  var sum = 0.0;
  var total = mat2x4<f32>();
  for (var base = first_seen(step.position, params.window); base < end; base += LANES) {
    var one = MASKED;
    if (base + lane < end) {
      one = capped(vec4(score(head, row + base + lane) * params.scale), params.softcap).x;
      atomicMax(&top, order(one));
    }
    workgroupBarrier();
    let now = float_of(atomicLoad(&top));
    weights[lane] = select(exp(one - now), 0.0, one == MASKED);
    let fade = exp(highest - now);
    highest = now;
    workgroupBarrier();
    sum *= fade;
    total = total * fade;
    if (slice < SLICES) {
      let count = min(LANES, end - base);
      let place = row + base;
      var i = slice;
      for (; i + 3 * SLICES < count; i += 4 * SLICES) { // four loads on their way at once
        let w = vec4(weights[i], weights[i + SLICES], weights[i + 2 * SLICES], weights[i + 3 * SLICES]);
        sum += w.x + w.y + w.z + w.w;
        total += w.x * value(place + i, column) + w.y * value(place + i + SLICES, column);
        total += w.z * value(place + i + 2 * SLICES, column) + w.w * value(place + i + 3 * SLICES, column);
      }
      for (; i < count; i += SLICES) {
        sum += weights[i];
        total += weights[i] * value(place + i, column);
      }
    }
  }
  partial[lane] = total;
  partial_sum[lane] = sum;
  workgroupBarrier();
  if (lane < COLUMNS) {
    for (var other = lane + COLUMNS; other < SLICES * COLUMNS; other += COLUMNS) {
      total += partial[other];
      sum += partial_sum[other];
    }
    y[2 * (head * COLUMNS + lane)] = total[0] / sum;
    y[2 * (head * COLUMNS + lane) + 1] = total[1] / sum;
  }
}
