// rope_kv: rotate q in place; rotate k; write k and v to the cache at position step.position + t
//
//   Pair i turns by the angle of rope[position, i]. INTERLEAVED: pair i is (2i, 2i + 1), else (i, i + ROPE/2).
//   Elements of a head from ROPE on do not turn. One invocation makes one pair of q or one word of k or v.
//
//   qkv      f32 [T, (H + 2K) E]   read_write   heads of q, then of k, then of v
//   rope     f32 [P, ROPE/2, 2]    read         cos, sin
//   k_cache  u32 [K, C, E/2]       read_write   f16 pairs
//   v_cache  u32 [K, C, E/2]       read_write   f16 pairs
//   step     Step                  read
//   params   Params                uniform
//   grid     T (H + 2K) E/2 invocations in workgroups of 64, spread over x and y

//#include step
//#include cache

struct Params {
  context: u32,
}

@group(0) @binding(0) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> rope: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> k_cache: array<u32>;
@group(0) @binding(3) var<storage, read_write> v_cache: array<u32>;
@group(0) @binding(4) var<storage, read> step: Step;
@group(0) @binding(5) var<uniform> params: Params;

override HEADS: u32;
override KV_HEADS: u32;
override WIDTH: u32;

//#include rope

fn element(start: u32, e: u32) -> f32 {
  return qkv[start + e];
}

@compute @workgroup_size(64)
fn rope_kv(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let item = (group.x + group.y * groups.x) * 64 + lane;
  let word = item % (WIDTH / 2);
  let row = item / (WIDTH / 2);
  let head = row % (HEADS + 2 * KV_HEADS);
  let t = row / (HEADS + 2 * KV_HEADS);
  let position = step.position + t;
  if (t >= step.count || position >= within(position + 1, params.context)) {
    return;
  }
  let place = slot(position, ring_start(position, params.context), params.context);
  let start = row * WIDTH;
  if (head < HEADS) {
    if (word < ROPE / 2) {
      let pair = pair_at(word);
      let both = rotate(start, pair, rope[position * (ROPE / 2) + word]);
      qkv[start + pair.first] = both.x;
      qkv[start + pair.second] = both.y;
    }
  } else if (head < HEADS + KV_HEADS) {
    let both = vec2(rotated(start, 2 * word, position), rotated(start, 2 * word + 1, position));
    let slot = ((head - HEADS) * params.context + place) * (WIDTH / 2) + word;
    k_cache[slot] = cached(both);
  } else {
    let both = vec2(qkv[start + 2 * word], qkv[start + 2 * word + 1]);
    let slot = ((head - HEADS - KV_HEADS) * params.context + place) * (WIDTH / 2) + word;
    v_cache[slot] = cached(both);
  }
}
