// attention: y[t, h, :] = softmax(q[t, h] · k[j] * scale) · v[j, :] over the positions j that query t sees
//
//   j <= step.position + t, and j > that - window where window > 0; softcap * tanh(s / softcap) where softcap > 0.
//   A workgroup takes QUERIES queries of one head, each lane four of them (a vec4 holds one number per query), so that
//   a loaded k or v serves four. Keys come in chunks of KEYS * E/4. A lane first scores KEYS keys, then sums one vec4
//   column of v over the chunk. Online softmax: top[query] is the highest score so far.
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
override QUERIES: u32 = 16;
override COLUMNS: u32 = WIDTH / 4;
override QUERY_WORDS: u32 = QUERIES * COLUMNS;
override LANES: u32 = QUERIES / 4 * COLUMNS;
const KEYS = 2u;
override CHUNK: u32 = KEYS * COLUMNS;
override WEIGHTS: u32 = QUERIES / 4 * CHUNK;

var<workgroup> queries: array<vec4<f32>, QUERY_WORDS>; // [query, column]
var<workgroup> weights: array<vec4<f32>, WEIGHTS>;     // [four queries, key]
var<workgroup> top: array<atomic<u32>, QUERIES>;

// What four queries at `positions` score for key j; masked where a query does not see it.
fn masked(scores: vec4<f32>, j: u32, positions: vec4<u32>) -> vec4<f32> {
  var seen = vec4(j) <= positions;
  if (params.window > 0) {
    seen = seen & (vec4(j + params.window) > positions);
  }
  return select(vec4(MASKED), capped(scores, params.softcap), seen);
}

@compute @workgroup_size(LANES)
fn attention(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let head = group.y;
  let tile = group.x * QUERIES;
  if (tile >= step.count) {
    return;
  }
  let rows = head / (HEADS / KV_HEADS) * params.context;
  let column = lane % COLUMNS;
  let four = lane / COLUMNS;
  let mine = tile + four * 4;
  let positions = vec4(step.position + mine) + vec4(0, 1, 2, 3);
  for (var i = lane; i < QUERY_WORDS; i += LANES) {
    let t = tile + i / COLUMNS;
    if (t < step.count) {
      queries[i] = qkv[(t * (HEADS + 2 * KV_HEADS) + head) * COLUMNS + i % COLUMNS] * params.scale;
    }
  }
  workgroupBarrier();

  var highest = vec4(MASKED);
  var sum = vec4<f32>();
  var total = mat4x4<f32>(); // one column per query
  let end = min(step.position + min(tile + QUERIES, step.count), params.context);
  for (var base = first_seen(step.position + tile, params.window); base < end; base += CHUNK) {
    var scores = array<vec4<f32>, KEYS>(); // Dawn sets one without initializer to zero only once, not in every turn
    for (var e = 0u; e < COLUMNS; e++) {
      let q = mat4x4(
        queries[(four * 4) * COLUMNS + e],
        queries[(four * 4 + 1) * COLUMNS + e],
        queries[(four * 4 + 2) * COLUMNS + e],
        queries[(four * 4 + 3) * COLUMNS + e],
      );
      for (var i = 0u; i < KEYS; i++) {
        let j = min(base + i * COLUMNS + column, end - 1);
        scores[i] += halves(k_cache[(rows + j) * COLUMNS + e]) * q;
      }
    }
    var best = vec4(MASKED);
    for (var i = 0u; i < KEYS; i++) {
      let j = base + i * COLUMNS + column;
      scores[i] = select(vec4(MASKED), masked(scores[i], j, positions), j < end);
      best = max(best, scores[i]);
    }
    for (var r = 0u; r < 4; r++) {
      atomicMax(&top[four * 4 + r], order(best[r]));
    }
    workgroupBarrier();
    var now: vec4<f32>;
    for (var r = 0u; r < 4; r++) {
      now[r] = float_of(atomicLoad(&top[four * 4 + r]));
    }
    for (var i = 0u; i < KEYS; i++) {
      let weight = select(exp(scores[i] - now), vec4(0.0), scores[i] == vec4(MASKED));
      weights[four * CHUNK + i * COLUMNS + column] = weight;
    }
    let fade = exp(highest - now);
    highest = now;
    workgroupBarrier();
    sum *= fade;
    total = mat4x4(total[0] * fade[0], total[1] * fade[1], total[2] * fade[2], total[3] * fade[3]);
    for (var j = 0u; j < min(CHUNK, end - base); j++) {
      let weight = weights[four * CHUNK + j];
      let v = halves(v_cache[(rows + base + j) * COLUMNS + column]);
      sum += weight;
      total += mat4x4(v * weight[0], v * weight[1], v * weight[2], v * weight[3]);
    }
  }
  for (var r = 0u; r < 4; r++) {
    if (mine + r < step.count) {
      y[((mine + r) * HEADS + head) * COLUMNS + column] = total[r] / sum[r];
    }
  }
}
