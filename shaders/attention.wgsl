// attention: y[t, h, :] = softmax(q[t, h] · k[j] * scale) · v[j, :] over the positions j that query t sees
//
//   j <= step.position + t, and j > that - window where window > 0; softcap * tanh(s / softcap) where softcap > 0.
//   A workgroup takes QUERIES queries of one head, each lane four of them (a vec4 holds one number per query), so that
//   a loaded k or v serves four. Keys come in chunks of E. A lane first scores four keys, then sums one vec4 column of
//   v over the chunk. Online softmax: top[query] is the highest score so far.
//
//   qkv      f32 [T, (H + 2K) E]   read         q rotated
//   k_cache  u32 [K, C, E/2]       read         f16 pairs
//   v_cache  u32 [K, C, E/2]       read         f16 pairs
//   y        f32 [T, H E]          read_write
//   step     Step                  read
//   params   Params                uniform
//   grid     (T / QUERIES, H, 1)   rounded up; QUERIES / 4 * E/4 lanes

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
@group(0) @binding(1) var<storage, read> k_cache: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> v_cache: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> step: Step;
@group(0) @binding(5) var<uniform> params: Params;

override WIDTH: u32;
override QUERIES: u32;
override COLUMNS: u32 = WIDTH / 4;
override LANES: u32 = QUERIES / 4 * COLUMNS;
override CHUNK: u32 = 4 * COLUMNS;
override WEIGHTS: u32 = QUERIES / 4 * CHUNK;

var<workgroup> weights: array<vec4<f32>, WEIGHTS>; // [four queries, key]
var<workgroup> top: array<atomic<u32>, QUERIES>;

fn key(row: u32, column: u32) -> vec4<f32> {
  return halves(k_cache[row * COLUMNS + column]);
}

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
  let recent = vec4(j + params.window) > positions;
  let seen = (vec4(j) <= positions) & (recent | vec4(params.window == 0));
  return select(vec4(MASKED), capped(scores * params.scale, params.softcap), seen);
}

fn raise_top(first: u32, scores: vec4<f32>) {
  atomicMax(&top[first], order(scores.x));
  atomicMax(&top[first + 1], order(scores.y));
  atomicMax(&top[first + 2], order(scores.z));
  atomicMax(&top[first + 3], order(scores.w));
}

fn tops(first: u32) -> vec4<f32> {
  return vec4(
    float_of(atomicLoad(&top[first])),
    float_of(atomicLoad(&top[first + 1])),
    float_of(atomicLoad(&top[first + 2])),
    float_of(atomicLoad(&top[first + 3])),
  );
}

fn weigh(scores: vec4<f32>, highest: vec4<f32>) -> vec4<f32> {
  return select(exp(scores - highest), vec4(0.0), scores == vec4(MASKED));
}

@compute @workgroup_size(LANES)
fn attention(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let head = group.y;
  let tile = group.x * QUERIES;
  if (tile >= step.count) {
    return;
  }
  let row = head / (params.heads / params.kv_heads) * params.context;
  let column = lane % COLUMNS;
  let first = lane / COLUMNS * 4;
  let live = tile + first < step.count;
  let positions = vec4(step.position + tile + first) + vec4(0, 1, 2, 3);
  let list = first * COLUMNS; // of this lane's queries in weights: first / 4 * CHUNK
  let row_words = (params.heads + 2 * params.kv_heads) * COLUMNS;
  let queries = min(vec4(tile + first) + vec4(0, 1, 2, 3), vec4(step.count - 1)) * row_words + head * COLUMNS;
  var highest = vec4(MASKED);
  var sum = vec4<f32>();
  var total = mat4x4<f32>(); // one column a query
  let end = min(step.position + min(tile + QUERIES, step.count), params.context);
  for (var base = first_seen(step.position + tile, params.window); base < end; base += CHUNK) {
    let j = base + column * 4;
    var scores = mat4x4(vec4(MASKED), vec4(MASKED), vec4(MASKED), vec4(MASKED));
    if (live && j < end) {
      scores = score(queries, row + min(vec4(j) + vec4(0, 1, 2, 3), vec4(end - 1)));
      scores[0] = masked(scores[0], j, positions);
      scores[1] = masked(scores[1], j + 1, positions);
      scores[2] = masked(scores[2], j + 2, positions);
      scores[3] = masked(scores[3], j + 3, positions);
      raise_top(first, max(max(scores[0], scores[1]), max(scores[2], scores[3])));
    }
    workgroupBarrier();
    let now = tops(first);
    weights[list + column * 4] = weigh(scores[0], now);
    weights[list + column * 4 + 1] = weigh(scores[1], now);
    weights[list + column * 4 + 2] = weigh(scores[2], now);
    weights[list + column * 4 + 3] = weigh(scores[3], now);
    let fade = exp(highest - now);
    highest = now;
    workgroupBarrier();
    sum *= fade;
    total = mat4x4(total[0] * fade.x, total[1] * fade.y, total[2] * fade.z, total[3] * fade.w);
    if (live) {
      for (var i = 0u; i < min(CHUNK, end - base); i++) {
        let w = weights[list + i];
        let v = halves(v_cache[(row + base + i) * COLUMNS + column]);
        sum += w;
        total += mat4x4(v * w.x, v * w.y, v * w.z, v * w.w);
      }
    }
  }
  for (var r = 0u; r < 4; r++) {
    let t = tile + first + r;
    if (t < step.count) {
      y[(t * params.heads + head) * COLUMNS + column] = total[r] / sum[r];
    }
  }
}
