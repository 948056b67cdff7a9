// attention_step: rope_kv and attention_decode for one token in one launch, for GPUs and an E that eight divides
//
//   y[h, :] = softmax(q[h] · k[j] * scale) · v[j, :] over the positions j that one query sees, q and k rotated
//
//   j <= step.position, and j > step.position - window where window > 0; softcap * tanh(s / softcap) where softcap > 0.
//   Every workgroup norms (NORM as in qk_norm) and rotates its own q and k, rounds k and v as the cache does and takes
//   the newest position from them (lib/attend.wgsl): none waits for another. The first head of each group writes
//   them to the cache. With S > 1 a workgroup takes one of S parts of the positions, and lib/parted_input.wgsl joins
//   them: y is then [H, S, E] of weighted sums, not divided, then [H, S, 4] of (highest score, sum of weights, 0, 0).
//
//   qkv      f32 [1, (H + 2K) E]   read         not rotated
//   rope     f32 [P, ROPE/2, 2]    read         cos, sin
//   gains    f32                   read         as in qk_norm; used with NORM
//   k_cache  u32 [K, C, E/2]       read_write   f16 pairs, or as in lib/q8_cache.wgsl
//   v_cache  u32 [K, C, E/2]       read_write   f16 pairs, or as in lib/q8_cache.wgsl
//   y        f32 [1, H E]          read_write   with S > 1 [H S (E + 4)]
//   step     Step                  read
//   params   Params                uniform
//   grid     (H, S, 1)             one workgroup per head and part

//#include step

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
@group(0) @binding(3) var<storage, read_write> k_cache: array<Eight>;
@group(0) @binding(4) var<storage, read_write> v_cache: array<Eight>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<storage, read> step: Step;
@group(0) @binding(7) var<uniform> params: Params;

override WIDTH: u32;
override LANES: u32 = 256; // at least E

const TOKENS = 1u;
const OWN_POOL = 0u;
const PAST = false;

//#include attend
//#include normed_heads
//#include turned
//#include left_query

fn is_new(j: u32) -> bool {
  return j >= step.position;
}

fn newest(j: u32) -> u32 {
  return 0;
}

// 2 COLUMNS lanes make four of q each, COLUMNS eight of k, COLUMNS eight of v.
fn prepare(head: u32, kv_head: u32, lane: u32) {
  let k_start = (params.heads + kv_head) * WIDTH;
  let v_start = k_start + params.kv_heads * WIDTH;
  let e = lane % COLUMNS * 8;
  var both = mat2x4<f32>();
  if (lane < 2 * COLUMNS) {
    both[0] = turned(head * WIDTH, lane * 4);
  } else if (lane < 3 * COLUMNS) {
    both = mat2x4(turned(k_start, e), turned(k_start, e + 4));
  } else if (lane < 4 * COLUMNS) {
    both = mat2x4(plain(v_start + e), plain(v_start + e + 4));
  }
  var factors = vec2<f32>(1);
  if (NORM > 0) {
    factors = norm_factors(0, head, kv_head, lane);
  }
  if (lane < 2 * COLUMNS) {
    query[lane] = both[0] * factors.x * params.scale;
  } else if (lane < 3 * COLUMNS) {
    keep(lane - 2 * COLUMNS, both[0] * factors.y, both[1] * factors.y);
  } else if (lane < 4 * COLUMNS) {
    keep(lane - 2 * COLUMNS, both[0], both[1]);
  }
  settle(lane);
  workgroupBarrier();
}

@compute @workgroup_size(LANES)
fn attention_step(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let head = group.x;
  let sharers = params.heads / params.kv_heads;
  let own = step.position;
  let span = span_of(own, head / sharers, group.y, groups.y);
  let first = load(span, span.start, lane);
  prepare(head, head / sharers, lane);
  if (head % sharers == 0 && group.y == 0 && has_place(own, params.context)) {
    store(row_of(span, own), 0, lane);
  }
  leave_at(0, head, group.y, groups.y);
  attend(span, first, lane);
}
