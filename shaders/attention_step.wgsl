// attention_step: rope_kv and attention_decode for one token in one launch, for GPUs and an E that eight divides
//
//   y[h, :] = softmax(q[h] · k[j] * scale) · v[j, :] over the positions j that one query sees, q and k rotated
//
//   j <= step.position, and j > step.position - window where window > 0; softcap * tanh(s / softcap) where softcap > 0.
//   Every workgroup norms (NORM as in qk_norm) and rotates its own q and k, rounds k and v as the cache does and takes
//   the newest position from them: none waits for another. The first head of each group writes them to the cache. Then
//   chunks of LANES positions: each lane scores one, then the lanes divide into E/8 columns and SLICES slices. Online
//   softmax. With S > 1 a workgroup takes one of S parts of the positions, and lib/parted_input.wgsl joins them: y is
//   then [H, S, E] of weighted sums, not divided, then [H, S, 4] of (highest score, sum of weights, 0, 0).
//
//   qkv      f32 [1, (H + 2K) E]   read         not rotated
//   rope     f32 [P, ROPE/2, 2]    read         cos, sin
//   gains    f32                   read         as in qk_norm; used with NORM
//   k_cache  u32 [K, C, E/2]       read_write   f16 pairs
//   v_cache  u32 [K, C, E/2]       read_write   f16 pairs
//   y        f32 [1, H E]          read_write   with S > 1 [H S (E + 4)]
//   step     Step                  read
//   params   Params                uniform
//   grid     (H, S, 1)             one workgroup per head and part

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
  eps: f32,
}

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> rope: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> gains: array<f32>;
@group(0) @binding(3) var<storage, read_write> k_cache: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> v_cache: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> step: Step;
@group(0) @binding(7) var<uniform> params: Params;

override WIDTH: u32;
override LANES: u32 = 256;
override COLUMNS: u32 = WIDTH / 8;
override SLICES: u32 = LANES / COLUMNS;

//#include rope
//#include normed_heads

var<workgroup> query: array<vec4<f32>, 2 * COLUMNS>;
var<workgroup> new_k: array<vec4<u32>, COLUMNS>;
var<workgroup> new_v: array<vec4<u32>, COLUMNS>;
var<workgroup> weights: array<f32, LANES>;
var<workgroup> top: atomic<u32>;
var<workgroup> partial: array<mat2x4<f32>, LANES>;
var<workgroup> partial_sum: array<f32, LANES>;

// Four elements from `e` of the head at `start`, rotated.
fn turned(start: u32, e: u32) -> vec4<f32> {
  let p = step.position;
  return vec4(rotated(start, e, p), rotated(start, e + 1, p), rotated(start, e + 2, p), rotated(start, e + 3, p));
}

fn plain(start: u32, e: u32) -> vec4<f32> {
  return vec4(qkv[start + e], qkv[start + e + 1], qkv[start + e + 2], qkv[start + e + 3]);
}

fn eight(a: vec4<f32>, b: vec4<f32>) -> vec4<u32> {
  return vec4(cached(a.xy), cached(a.zw), cached(b.xy), cached(b.zw));
}

fn prepare(head: u32, kv_head: u32, lane: u32) {
  let k_start = (params.heads + kv_head) * WIDTH;
  let v_start = k_start + params.kv_heads * WIDTH;
  for (var i = lane; i < 4 * COLUMNS; i += LANES) {
    let e = i % COLUMNS * 8;
    if (i < 2 * COLUMNS) {
      query[i] = turned(head * WIDTH, i * 4) * params.scale;
    } else if (i < 3 * COLUMNS) {
      new_k[i - 2 * COLUMNS] = eight(turned(k_start, e), turned(k_start, e + 4));
    } else {
      new_v[i - 3 * COLUMNS] = eight(plain(v_start, e), plain(v_start, e + 4));
    }
  }
}

fn score(row: u32, newest: bool) -> f32 {
  var sum = 0.0;
  for (var e = 0u; e < COLUMNS; e++) {
    var k = new_k[e];
    if (!newest) {
      k = k_cache[row * COLUMNS + e];
    }
    sum += dot(query[2 * e], halves(k.xy)) + dot(query[2 * e + 1], halves(k.zw));
  }
  return sum;
}

fn value(row: u32, column: u32) -> mat2x4<f32> {
  let v = v_cache[row * COLUMNS + column];
  return mat2x4(halves(v.xy), halves(v.zw));
}

@compute @workgroup_size(LANES)
fn attention_step(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let head = group.x;
  let sharers = params.heads / params.kv_heads;
  let row = head / sharers * params.context;
  let newest = within(step.position + 1, params.context) - 1;
  let first = first_seen(step.position, params.window);
  let ring = ring_start(first, params.context);
  let share = (newest - first) / groups.y + 1;
  let start = first + group.y * share;
  let end = min(start + share, newest + 1);
  let column = lane % COLUMNS;
  let slice = lane / COLUMNS;
  if (NORM > 0) {
    factors = norm_factors(head, head / sharers, lane);
  }
  prepare(head, head / sharers, lane);
  workgroupBarrier();
  if (head % sharers == 0 && lane < COLUMNS && step.position == newest && start < end && end == newest + 1) {
    let own = row + slot(newest, ring, params.context);
    k_cache[own * COLUMNS + lane] = new_k[lane];
    v_cache[own * COLUMNS + lane] = new_v[lane];
  }

  var highest = MASKED;
  var sum = 0.0;
  var total = mat2x4<f32>();
  for (var base = start; base < end; base += LANES) {
    var one = MASKED;
    if (base + lane < end) {
      one = capped(vec4(score(row + slot(base + lane, ring, params.context), base + lane == newest)), params.softcap).x;
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
      let count = min(LANES, min(end, newest) - base); // all but the newest
      var i = slice;
      for (; i + 3 * SLICES < count; i += 4 * SLICES) { // four loads on their way at once
        let w = vec4(weights[i], weights[i + SLICES], weights[i + 2 * SLICES], weights[i + 3 * SLICES]);
        let at = row + slots(vec4(base + i) + vec4(0, 1, 2, 3) * SLICES, ring, params.context);
        sum += w.x + w.y + w.z + w.w;
        total += w.x * value(at.x, column) + w.y * value(at.y, column);
        total += w.z * value(at.z, column) + w.w * value(at.w, column);
      }
      for (; i < count; i += SLICES) {
        sum += weights[i];
        total += weights[i] * value(row + slot(base + i, ring, params.context), column);
      }
      if (slice == 0 && end == newest + 1 && newest - base < LANES) {
        let v = new_v[column];
        sum += weights[newest - base];
        total += weights[newest - base] * mat2x4(halves(v.xy), halves(v.zw));
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
    let part = head * groups.y + group.y;
    let divisor = select(1.0, sum, groups.y == 1);
    y[2 * (part * COLUMNS + lane)] = total[0] / divisor;
    y[2 * (part * COLUMNS + lane) + 1] = total[1] / divisor;
    if (groups.y > 1 && lane == 0) {
      y[2 * groups.x * groups.y * COLUMNS + part] = vec4(highest, sum, 0, 0);
    }
  }
}
