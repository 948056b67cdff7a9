// attention_decode: y[h, :] = softmax(q[h] · k[j] * scale) · v[j, :] over the positions j that one query sees
//
//   j <= step.position, and j > step.position - window where window > 0; softcap * tanh(s / softcap) where softcap > 0.
//   Positions come in chunks. First each lane scores four positions, then the lanes divide
//   into E/4 columns and SLICES slices of positions. Online softmax: `top` is the highest score so far.
//
//   qkv      f32 [1, (H + 2K) E]   read         q rotated
//   k_cache  u32 [K, C, E/2]       read         f16 pairs, or as in lib/q8_cache.wgsl
//   v_cache  u32 [K, C, E/2]       read         f16 pairs, or as in lib/q8_cache.wgsl
//   y        f32 [1, H E]          read_write
//   step     Step                  read
//   params   Params                uniform
//   grid     (H, 1, 1)             one workgroup per head

//#include step
//#include order
//#include cache
//#include f16_fours

struct Params {
  context: u32,
  window: u32,
  scale: f32,
  softcap: f32,
  heads: u32,
  kv_heads: u32,
}

@group(0) @binding(0) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k_cache: array<Four>;
@group(0) @binding(2) var<storage, read> v_cache: array<Four>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> step: Step;
@group(0) @binding(5) var<uniform> params: Params;

override WIDTH: u32;
override LANES: u32 = 64;
override COLUMNS: u32 = WIDTH / 4;
override SLICES: u32 = LANES / COLUMNS;

var<workgroup> weights: array<vec4<f32>, LANES>; // four positions a lane; in the end each lane's part of y
var<workgroup> top: atomic<u32>;
var<workgroup> partial_sum: array<f32, LANES>;

// q · k for the keys of four rows.
fn score(head: u32, rows: vec4<u32>) -> vec4<f32> {
  var sum = vec4<f32>();
  for (var e = 0u; e < COLUMNS; e++) {
    let q = qkv[head * COLUMNS + e];
    sum += vec4(dot(q, key(rows.x, e)), dot(q, key(rows.y, e)), dot(q, key(rows.z, e)), dot(q, key(rows.w, e)));
  }
  return sum;
}

@compute @workgroup_size(LANES)
fn attention_decode(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let head = group.x;
  let row = head / (params.heads / params.kv_heads) * params.context;
  let end = within(step.position + 1, params.context);
  let start = first_seen(step.position, params.window);
  let ring = ring_start(start, params.context);
  let column = lane % COLUMNS;
  let slice = lane / COLUMNS;

  var highest = MASKED;
  var sum = 0.0;
  var total = vec4<f32>();
  for (var base = start; base < end; base += LANES * 4) {
    let j = base + lane * 4;
    let places = vec4(j) + vec4(0, 1, 2, 3);
    var scores = vec4(MASKED);
    if (j < end) {
      scores = score(head, row + slots(min(places, vec4(end - 1)), ring, params.context)) * params.scale;
      scores = select(vec4(MASKED), capped(scores, params.softcap), places < vec4(end));
      atomicMax(&top, order(max(max(scores.x, scores.y), max(scores.z, scores.w))));
    }
    workgroupBarrier();
    let now = float_of(atomicLoad(&top));
    weights[lane] = select(exp(scores - now), vec4(0.0), scores == vec4(MASKED));
    let fade = exp(highest - now);
    highest = now;
    workgroupBarrier();
    sum *= fade;
    total *= fade;
    if (slice < SLICES) {
      for (var i = slice; i < min(LANES, (end - base + 3) / 4); i += SLICES) {
        let w = weights[i];
        let seen = min(vec4(base + i * 4) + vec4(0, 1, 2, 3), vec4(end - 1));
        let rows = row + slots(seen, ring, params.context);
        sum += w.x + w.y + w.z + w.w;
        total += w.x * value(rows.x, column) + w.y * value(rows.y, column);
        total += w.z * value(rows.z, column) + w.w * value(rows.w, column);
      }
    }
  }
  workgroupBarrier();
  weights[lane] = total;
  partial_sum[lane] = sum;
  workgroupBarrier();
  if (lane < COLUMNS) {
    for (var other = 1u; other < SLICES; other++) {
      total += weights[lane + other * COLUMNS];
      sum += partial_sum[lane + other * COLUMNS];
    }
    y[head * COLUMNS + lane] = total / sum;
  }
}
