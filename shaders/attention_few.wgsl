// attention_few: attention_step for a few tokens in one launch, each with attention_step's own numbers
//
//   y[t, h, :] = softmax(q[t, h] · k[j] * scale) · v[j, :] over the positions j that token t sees
//
//   j <= step.position + t, the rest as in attention_step. A workgroup takes one part of one head of one token. It
//   norms and rotates the keys of the step's tokens up to its own itself, so that none waits for another; the first
//   head of each group writes its token's k and v to the cache. With S > 1 what is left of a token is [H, S, E] of
//   weighted sums, then [H, S, 4], see lib/few_parted_input.wgsl.
//
//   qkv      f32 [T, (H + 2K) E]   read         not rotated; T at most 8
//   rope     f32 [P, ROPE/2, 2]    read         cos, sin
//   gains    f32                   read         as in qk_norm; used with NORM
//   k_cache  u32 [K, C, E/2]       read_write   f16 pairs
//   v_cache  u32 [K, C, E/2]       read_write   f16 pairs
//   y        f32 [T, H E]          read_write   with S > 1 [T, H S (E + 4)]
//   step     Step                  read
//   params   Params                uniform
//   grid     (H, S, T)             one workgroup per head, part and token

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
override TOKENS: u32 = 4;
override COLUMNS: u32 = WIDTH / 8;
override SLICES: u32 = LANES / COLUMNS;

//#include few_heads

var<workgroup> query: array<vec4<f32>, 2 * COLUMNS>;
var<workgroup> new_k: array<vec4<u32>, TOKENS * COLUMNS>; // [token, column] of this step
var<workgroup> new_v: array<vec4<u32>, TOKENS * COLUMNS>;
var<workgroup> weights: array<f32, LANES>;
var<workgroup> top: atomic<u32>;
var<workgroup> partial: array<mat2x4<f32>, LANES>;
var<workgroup> partial_sum: array<f32, LANES>;

// j: the position that lies in `row` of the cache, or is one of this step's.
fn score(j: u32, row: u32) -> f32 {
  var sum = 0.0;
  for (var e = 0u; e < COLUMNS; e++) {
    var k: vec4<u32>;
    if (j < step.position) {
      k = k_cache[row * COLUMNS + e];
    } else {
      k = new_k[(j - step.position) * COLUMNS + e];
    }
    sum += dot(query[2 * e], halves(k.xy)) + dot(query[2 * e + 1], halves(k.zw));
  }
  return sum;
}

fn value(j: u32, row: u32, column: u32) -> mat2x4<f32> {
  var v = v_cache[row * COLUMNS + column]; // what another workgroup is writing here is not used
  if (j >= step.position) {
    v = new_v[(j - step.position) * COLUMNS + column];
  }
  return mat2x4(halves(v.xy), halves(v.zw));
}

@compute @workgroup_size(LANES)
fn attention_few(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let head = group.x;
  let token = group.z;
  if (token >= step.count) {
    return;
  }
  let own = step.position + token;
  let sharers = params.heads / params.kv_heads;
  let row = head / sharers * params.context;
  let newest = within(own + 1, params.context) - 1;
  let first = first_seen(own, params.window);
  let ring = ring_start(first, params.context);
  let share = (newest - first) / groups.y + 1;
  let start = first + group.y * share;
  let end = min(start + share, newest + 1);
  let column = lane % COLUMNS;
  let slice = lane / COLUMNS;
  if (NORM > 0) {
    norm_tokens(token, head, head / sharers, lane);
  }
  prepare(token, head, head / sharers, lane);
  workgroupBarrier();
  if (head % sharers == 0 && lane < COLUMNS && own == newest && start < end && end == newest + 1) {
    let place = row + slot(newest, ring, params.context);
    k_cache[place * COLUMNS + lane] = new_k[token * COLUMNS + lane];
    v_cache[place * COLUMNS + lane] = new_v[token * COLUMNS + lane];
  }

  var highest = MASKED;
  var sum = 0.0;
  var total = mat2x4<f32>();
  for (var base = start; base < end; base += LANES) {
    var one = MASKED;
    let j = base + lane;
    if (j < end) {
      one = capped(vec4(score(j, row + slot(j, ring, params.context))), params.softcap).x;
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
        let js = vec4(base + i) + vec4(0, 1, 2, 3) * SLICES;
        let at = row + slots(js, ring, params.context);
        sum += w.x + w.y + w.z + w.w;
        total += w.x * value(js.x, at.x, column) + w.y * value(js.y, at.y, column);
        total += w.z * value(js.z, at.z, column) + w.w * value(js.w, at.w, column);
      }
      for (; i < count; i += SLICES) {
        sum += weights[i];
        total += weights[i] * value(base + i, row + slot(base + i, ring, params.context), column);
      }
      if (slice == 0 && end == newest + 1 && newest - base < LANES) {
        let v = new_v[token * COLUMNS + column];
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
    let all = groups.x * groups.y;
    let start = token * (2 * all * COLUMNS + select(0, all, groups.y > 1));
    let part = head * groups.y + group.y;
    let divisor = select(1.0, sum, groups.y == 1);
    y[start + 2 * (part * COLUMNS + lane)] = total[0] / divisor;
    y[start + 2 * (part * COLUMNS + lane) + 1] = total[1] / divisor;
    if (groups.y > 1 && lane == 0) {
      y[start + 2 * all * COLUMNS + part] = vec4(highest, sum, 0, 0);
    }
  }
}
