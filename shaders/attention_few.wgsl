// attention_few: attention_step for a few tokens in one launch, each with attention_step's own numbers
//
//   y[t, h, :] = softmax(q[t, h] · k[j] * scale) · v[j, :] over the positions j that token t sees
//
//   j <= step.position + t, the rest as in attention_step. A workgroup takes one part of one head of one token. It
//   norms and rotates the keys of the step's tokens up to its own itself, so that none waits for another; the first
//   head of each group writes its token's k and v to the cache. With S > 1 what is left of a token is [H, S, E] of
//   weighted sums, then [H, S, 4], see lib/parted_input.wgsl.
//
//   qkv      f32 [T, (H + 2K) E]   read         not rotated; T at most 8
//   rope     f32 [P, ROPE/2, 2]    read         cos, sin
//   gains    f32                   read         as in qk_norm; used with NORM
//   k_cache  u32 [K, C, E/2]       read_write   f16 pairs, or as in lib/q8_cache.wgsl
//   v_cache  u32 [K, C, E/2]       read_write   f16 pairs, or as in lib/q8_cache.wgsl
//   y        f32 [T, H E]          read_write   with S > 1 [T, H S (E + 4)]
//   step     Step                  read
//   params   Params                uniform
//   grid     (H, S, T)             one workgroup per head, part and token

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
override LANES: u32 = 256;
override TOKENS: u32 = 4;
override PAST: bool = false; // leave the newest position to lib/newest_input.wgsl, as qkv_attention does

const OWN_POOL = 0u;

//#include attend
//#include few_heads
//#include left_query

// What another workgroup is writing to the cache is not used.
fn is_new(j: u32) -> bool {
  return j >= step.position;
}

fn newest(j: u32) -> u32 {
  return max(j, step.position) - step.position;
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
  let span = span_of(own, head / sharers, group.y, groups.y);
  let first = load(span, span.start, lane);
  if (NORM > 0) {
    norm_tokens(token, head, head / sharers, lane);
  }
  prepare(token, head, head / sharers, lane);
  workgroupBarrier();
  let at = newest_at(token, groups.y);
  if (head % sharers == 0 && group.y == 0) {
    if (has_place(own, params.context)) {
      store(row_of(span, own), token, lane);
    }
    if (PAST) {
      leave_newest(at, head / sharers, token, lane);
    }
  }
  if (PAST && group.y == 0) {
    leave_query(at, head, lane);
  }
  leave_at(token, head, group.y, groups.y);
  attend(span, first, lane);
}
