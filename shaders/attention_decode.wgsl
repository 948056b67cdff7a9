// attention_decode: y[h, :] = softmax(q[h] · k[j] * scale) · v[j, :] over the positions j that one query sees
//
//   j <= step.position, and j > step.position - window where window > 0; softcap * tanh(s / softcap) where softcap > 0.
//   Positions come in chunks. First each lane scores its positions (a dot product a lane), then the lanes divide
//   into E/4 columns and SLICES slices of positions. Online softmax: `top` is the highest score so far.
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
}

@group(0) @binding(0) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k_cache: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> v_cache: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> step: Step;
@group(0) @binding(5) var<uniform> params: Params;

override HEADS: u32;
override KV_HEADS: u32;
override WIDTH: u32;
override LANES: u32 = 64;
override COLUMNS: u32 = WIDTH / 4;
override SLICES: u32 = LANES / COLUMNS;
override CHUNK: u32 = LANES * 4;

var<workgroup> query: array<vec4<f32>, COLUMNS>;
var<workgroup> weights: array<f32, CHUNK>;
var<workgroup> top: atomic<u32>;
var<workgroup> partial: array<vec4<f32>, LANES>;
var<workgroup> partial_sum: array<f32, LANES>;

fn score(row: u32) -> f32 {
  var sum = 0.0;
  for (var e = 0u; e < COLUMNS; e++) {
    sum += dot(query[e], halves(k_cache[row * COLUMNS + e]));
  }
  return sum;
}

@compute @workgroup_size(LANES)
fn attention_decode(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let head = group.x;
  let rows = head / (HEADS / KV_HEADS) * params.context;
  let end = min(step.position + 1, params.context);
  let column = lane % COLUMNS;
  let slice = lane / COLUMNS;
  for (var e = lane; e < COLUMNS; e += LANES) {
    query[e] = qkv[head * COLUMNS + e] * params.scale;
  }
  workgroupBarrier();

  var highest = MASKED;
  var sum = 0.0;
  var total = vec4<f32>();
  for (var base = first_seen(step.position, params.window); base < end; base += CHUNK) {
    var scores = vec4(MASKED);
    for (var i = 0u; i < 4; i++) {
      let j = base + i * LANES + lane;
      if (j < end) {
        scores[i] = capped(vec4(score(rows + j)), params.softcap).x;
      }
    }
    atomicMax(&top, order(max(max(scores.x, scores.y), max(scores.z, scores.w))));
    workgroupBarrier();
    let now = float_of(atomicLoad(&top));
    for (var i = 0u; i < 4; i++) {
      weights[i * LANES + lane] = select(exp(scores[i] - now), 0.0, scores[i] == MASKED);
    }
    let fade = exp(highest - now);
    highest = now;
    workgroupBarrier();
    sum *= fade;
    total *= fade;
    if (slice < SLICES) {
      for (var j = slice; j < min(CHUNK, end - base); j += SLICES) {
        sum += weights[j];
        total += weights[j] * halves(v_cache[(rows + base + j) * COLUMNS + column]);
      }
    }
  }
  partial[lane] = total;
  partial_sum[lane] = sum;
  workgroupBarrier();
  if (lane < COLUMNS) {
    for (var other = 1u; other < SLICES; other++) {
      total += partial[lane + other * COLUMNS];
      sum += partial_sum[lane + other * COLUMNS];
    }
    y[head * COLUMNS + lane] = total / sum;
  }
}
