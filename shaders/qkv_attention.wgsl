// qkv_attention: matvec by W_qkv and attention_step in one launch, for models of few columns
//
//   [q; k; v] = W · norm(x) (+ bias); y as in attention_step, of the positions before the newest, which
//   lib/newest_input.wgsl adds.
//
//   Each workgroup of a head computes the head's q itself, those past the heads a head of k or of v, so that none waits
//   for another. A row's sums are those of matvec with LANES = BLOCKS and TEAMS = 8, bit by bit.
//
//   quants   u32x4 [(H + 2K) E, blocks, …]  read        all of W, see docs/architecture.md
//   scales   u32 [(H + 2K) E, blocks, …]    read
//   x        f32x4 [D / 4]                  read        32 divides D
//   norm     f32x4 [D / 4]                  read
//   bias     f32 [(H + 2K) E]               read        used with BIAS
//   rope     f32 [P, ROPE/2, 2]             read        cos, sin
//   k_cache  u32 [K, C, E/2]                read_write  f16 pairs
//   v_cache  u32 [K, C, E/2]                read_write  f16 pairs
//   y        f32                            read_write  see lib/left_query.wgsl
//   step     Step                           uniform
//   params   Params                         uniform
//   grid     (H + 2K, S, 1)                 one workgroup per head and part, and per head of k and of v

//#include step

struct Params {
  context: u32,
  window: u32,
  scale: f32,
  softcap: f32,
  heads: u32,
  kv_heads: u32,
  eps: f32,
  cols: u32,   // D
  blocks: u32, // in a row
}

@group(0) @binding(0) var<storage, read> quants: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> scales: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> rope: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read_write> k_cache: array<Eight>;
@group(0) @binding(7) var<storage, read_write> v_cache: array<Eight>;
@group(0) @binding(8) var<storage, read_write> y: array<f32>;
@group(0) @binding(9) var<uniform> step: Step;
@group(0) @binding(10) var<uniform> params: Params;

override WIDTH: u32;
override BIAS: bool = false;
override LANES: u32 = 256;
override OWN_POOL: u32 = WIDTH * STRIDE; // of lib/head_rows.wgsl

const TOKENS = 1u;
const PAST = true;

//#include head_rows
//#include attend
//#include turned
//#include left_query

fn is_new(j: u32) -> bool {
  return false;
}

fn newest(j: u32) -> u32 {
  return 0;
}

fn element(start: u32, e: u32) -> f32 {
  return raw(start + e);
}

// A head of k or of v → the cache, and y, as the cache has it.
fn keep_head(head: u32, is_v: bool, at: u32, lane: u32) {
  let e = 8 * lane;
  if (lane < COLUMNS) {
    var both = mat2x4(turned(0, e), turned(0, e + 4));
    if (is_v) {
      both = mat2x4(plain(e), plain(e + 4));
    }
    keep(lane, both[0], both[1]);
  }
  workgroupBarrier(); // a round trip through memory: compilers drop one through registers, and its rounding
  if (lane < COLUMNS && has_place(step.position, params.context)) {
    let row = row_of(span_of(step.position, head, 0, 1), step.position);
    if (is_v) {
      v_cache[row * COLUMNS + lane] = made[lane];
    } else {
      k_cache[row * COLUMNS + lane] = made[lane];
    }
  }
  if (lane >= COLUMNS && lane < 2 * COLUMNS) {
    let kept = opened(made[lane - COLUMNS]);
    leave_four(at + 8 * (lane - COLUMNS), kept[0]);
    leave_four(at + 8 * (lane - COLUMNS) + 4, kept[1]);
  }
}

@compute @workgroup_size(LANES)
fn qkv_attention(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let is_query = group.x < params.heads;
  if (!is_query && group.y > 0) {
    return;
  }
  let head = select((group.x - params.heads) % params.kv_heads, group.x, is_query);
  let kv_head = select(head, head / (params.heads / params.kv_heads), is_query);
  let span = span_of(step.position, kv_head, group.y, groups.y);
  let first = load(span, span.start, lane);
  let rows = fetch_rows(group.x * WIDTH, lane / BLOCKS, min(lane % BLOCKS, params.blocks - 1));
  stage(lane);
  workgroupBarrier();
  project(group.x * WIDTH, rows, lane);
  let at = newest_at(0, groups.y);
  if (!is_query) {
    keep_head(head, group.x >= params.heads + params.kv_heads, at + group.x * WIDTH, lane);
    return;
  }
  if (lane < 2 * COLUMNS) {
    query[lane] = turned(0, 4 * lane) * params.scale;
  }
  workgroupBarrier();
  if (group.y == 0) {
    leave_query(at, head, lane);
  }
  leave_at(0, head, group.y, groups.y);
  attend(span, first, lane);
}
