// attention: y[t, h, :] = softmax(q[t, h] · k[j] * scale) · v[j, :] over the positions j that query t sees
//
//   j <= step.position + t (unless CAUSAL: all of the step's), and less than window from it where window > 0;
//   softcap * tanh(s / softcap) where softcap > 0.
//   A workgroup takes four queries of one head (a vec4 holds one number per query), so that a loaded k or v serves
//   four. Positions come in chunks of 4 * LANES. First each lane scores four positions, then the lanes divide into E/4
//   columns and SLICES slices of positions. Online softmax: top[query] is the highest score so far.
//
//   qkv      f32 [T, (H + 2K) E]   read         q rotated
//   k_cache  u32 [K, C, E/2]       read         f16 pairs, or as in lib/q8_cache.wgsl
//   v_cache  u32 [K, C, E/2]       read         f16 pairs, or as in lib/q8_cache.wgsl
//   y        f32 [T, H E]          read_write
//   step     Step                  read
//   params   Params                uniform
//   grid     (T / 4, H, 1)         rounded up; LANES at least E/4

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
override LANES: u32;
override COLUMNS: u32 = WIDTH / 4;
override SLICES: u32 = LANES / COLUMNS;
override CHUNK: u32 = 4 * LANES;
override CAUSAL: bool = true;

var<workgroup> weights: array<vec4<f32>, CHUNK>; // in the end four vec4 a lane: its part of y
var<workgroup> sums: array<vec4<f32>, LANES>;
var<workgroup> top: array<atomic<u32>, 4>;

// q · k for the queries and the keys of four rows each: one column a key, one number a query.
fn score(queries: vec4<u32>, keys: vec4<u32>) -> mat4x4<f32> {
  var a = vec4<f32>();
  var b = vec4<f32>();
  var c = vec4<f32>();
  var d = vec4<f32>();
  for (var e = 0u; e < COLUMNS; e++) {
    let q = mat4x4(qkv[queries.x + e], qkv[queries.y + e], qkv[queries.z + e], qkv[queries.w + e]);
    a += key(keys.x, e) * q;
    b += key(keys.y, e) * q;
    c += key(keys.z, e) * q;
    d += key(keys.w, e) * q;
  }
  return mat4x4(a, b, c, d);
}

// What four queries at `positions` score for position j; MASKED where a query does not see it.
fn masked(scores: vec4<f32>, j: u32, positions: vec4<u32>) -> vec4<f32> {
  let recent = (vec4(j + params.window) > positions) | vec4(params.window == 0);
  let soon = (vec4(j) < positions + params.window) | vec4(params.window == 0);
  let seen = recent & select(soon, vec4(j) <= positions, CAUSAL);
  return select(vec4(MASKED), capped(scores * params.scale, params.softcap), seen);
}

fn raise_top(scores: vec4<f32>) {
  atomicMax(&top[0], order(scores.x));
  atomicMax(&top[1], order(scores.y));
  atomicMax(&top[2], order(scores.z));
  atomicMax(&top[3], order(scores.w));
}

fn tops() -> vec4<f32> {
  return vec4(
    float_of(atomicLoad(&top[0])),
    float_of(atomicLoad(&top[1])),
    float_of(atomicLoad(&top[2])),
    float_of(atomicLoad(&top[3])),
  );
}

fn weigh(scores: vec4<f32>, highest: vec4<f32>) -> vec4<f32> {
  return select(exp(scores - highest), vec4(0.0), scores == vec4(MASKED));
}

@compute @workgroup_size(LANES)
fn attention(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let head = group.y;
  let first = group.x * 4;
  if (first >= step.count) {
    return;
  }
  let row = head / (params.heads / params.kv_heads) * params.context;
  let column = lane % COLUMNS;
  let slice = lane / COLUMNS;
  let positions = vec4(step.position + first) + vec4(0, 1, 2, 3);
  let query_words = (params.heads + 2 * params.kv_heads) * COLUMNS;
  let queries = min(vec4(first) + vec4(0, 1, 2, 3), vec4(step.count - 1)) * query_words + head * COLUMNS;

  var highest = vec4(MASKED);
  var sum = vec4<f32>();
  var total = mat4x4<f32>(); // one column a query
  let end = within(step.position + select(step.count, min(first + 4, step.count), CAUSAL), params.context);
  let start = first_seen(step.position + first, params.window);
  let ring = ring_start(start, params.context);
  for (var base = start; base < end; base += CHUNK) {
    let j = base + lane * 4;
    var scores = mat4x4(vec4(MASKED), vec4(MASKED), vec4(MASKED), vec4(MASKED));
    if (j < end) {
      let places = slots(min(vec4(j) + vec4(0, 1, 2, 3), vec4(end - 1)), ring, params.context);
      scores = score(queries, row + places);
      scores[0] = masked(scores[0], j, positions);
      scores[1] = masked(scores[1], j + 1, positions);
      scores[2] = masked(scores[2], j + 2, positions);
      scores[3] = masked(scores[3], j + 3, positions);
      raise_top(max(max(scores[0], scores[1]), max(scores[2], scores[3])));
    }
    workgroupBarrier();
    let now = tops();
    weights[lane * 4] = weigh(scores[0], now);
    weights[lane * 4 + 1] = weigh(scores[1], now);
    weights[lane * 4 + 2] = weigh(scores[2], now);
    weights[lane * 4 + 3] = weigh(scores[3], now);
    let fade = exp(highest - now);
    highest = now;
    workgroupBarrier();
    sum *= fade;
    total = mat4x4(total[0] * fade.x, total[1] * fade.y, total[2] * fade.z, total[3] * fade.w);
    if (slice < SLICES) {
      for (var i = slice; i < min(CHUNK, end - base); i += SLICES) {
        let w = weights[i];
        let v = value(row + slot(base + i, ring, params.context), column);
        sum += w;
        total += mat4x4(v * w.x, v * w.y, v * w.z, v * w.w);
      }
    }
  }
  workgroupBarrier();
  sums[lane] = sum;
  for (var r = 0u; r < 4; r++) {
    weights[lane + r * LANES] = total[r];
  }
  workgroupBarrier();
  for (var i = lane; i < min(4, step.count - first) * COLUMNS; i += LANES) {
    let r = i / COLUMNS;
    var result = vec4<f32>();
    var weight = 0.0;
    for (var other = i % COLUMNS; other < SLICES * COLUMNS; other += COLUMNS) {
      result += weights[other + r * LANES];
      weight += sums[other][r];
    }
    y[((first + r) * params.heads + head) * COLUMNS + i % COLUMNS] = result / weight;
  }
}
