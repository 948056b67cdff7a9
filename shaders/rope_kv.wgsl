// rope_kv: rotate q in place; rotate k; write k and v to the cache at position step.position + t
//
//   Pair i turns by the angle of rope[position, i]. INTERLEAVED: pair i is (2i, 2i + 1), else (i, i + ROPE/2).
//   Elements of a head from ROPE on do not turn. One invocation makes one pair of q or two elements of k or v.
//
//   qkv      f32 [T, (H + 2K) E]   read_write   heads of q, then of k, then of v
//   rope     f32 [P, ROPE/2, 2]    read         cos, sin
//   k_cache  u32 [K, C, E/2]       read_write   f16 pairs, or as in lib/q8_cache.wgsl
//   v_cache  u32 [K, C, E/2]       read_write   f16 pairs, or as in lib/q8_cache.wgsl
//   step     Step                  read
//   params   Params                uniform
//   grid     T (H + 2K) LANES_A_ROW invocations in workgroups of 64, spread over x and y

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
//#include f16_pairs

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
  let word = item % LANES_A_ROW;
  let row = item / LANES_A_ROW;
  let head = row % (HEADS + 2 * KV_HEADS);
  let t = row / (HEADS + 2 * KV_HEADS);
  let position = step.position + t;
  let place = slot(position, ring_start(position, params.context), params.context);
  let inside = t < step.count && position < within(position + 1, params.context) && word < WIDTH / 2;
  let start = row * WIDTH;
  var both = vec2<f32>();
  if (inside && head < HEADS) {
    if (word < ROPE / 2) {
      let pair = pair_at(word);
      let turned = rotate(start, pair, rope[position * (ROPE / 2) + word]);
      qkv[start + pair.first] = turned.x;
      qkv[start + pair.second] = turned.y;
    }
  } else if (inside && head < HEADS + KV_HEADS) {
    both = vec2(rotated(start, 2 * word, position), rotated(start, 2 * word + 1, position));
  } else if (inside) {
    both = vec2(qkv[start + 2 * word], qkv[start + 2 * word + 1]);
  }
  let of_v = head >= HEADS + KV_HEADS;
  let kv_head = head - select(HEADS, HEADS + KV_HEADS, of_v);
  keep(kv_head * params.context + place, of_v, word, both, inside && head >= HEADS, lane);
}
