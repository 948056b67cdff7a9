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
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> step: Step;
@group(0) @binding(7) var<uniform> params: Params;

override WIDTH: u32;
override LANES: u32 = 256; // at least E/2

const TOKENS = 1u;

//#include attend
//#include normed_heads
//#include rope

var<workgroup> query: array<vec4<f32>, 2 * COLUMNS>;

fn is_new(j: u32) -> bool {
  return j >= step.position;
}

fn newest(j: u32) -> u32 {
  return 0;
}

// Four elements from `e` of the head at `start`, rotated.
fn turned(start: u32, e: u32) -> vec4<f32> {
  let p = step.position;
  return vec4(rotated(start, e, p), rotated(start, e + 1, p), rotated(start, e + 2, p), rotated(start, e + 3, p));
}

fn plain(start: u32, e: u32) -> vec4<f32> {
  return vec4(qkv[start + e], qkv[start + e + 1], qkv[start + e + 2], qkv[start + e + 3]);
}

fn prepare(head: u32, kv_head: u32, lane: u32) {
  let k_start = (params.heads + kv_head) * WIDTH;
  let v_start = k_start + params.kv_heads * WIDTH;
  for (var i = lane; i < 4 * COLUMNS; i += LANES) {
    let e = i % COLUMNS * 8;
    if (i < 2 * COLUMNS) {
      query[i] = turned(head * WIDTH, i * 4) * params.scale;
    } else if (i < 3 * COLUMNS) {
      keep(i - 2 * COLUMNS, turned(k_start, e), turned(k_start, e + 4));
    } else {
      keep(i - 2 * COLUMNS, plain(v_start, e), plain(v_start, e + 4));
    }
  }
  settle(lane);
}

@compute @workgroup_size(LANES)
fn attention_step(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let head = group.x;
  let sharers = params.heads / params.kv_heads;
  let span = span_of(step.position, head / sharers, group.y, groups.y);
  if (NORM > 0) {
    factors = norm_factors(0, head, head / sharers, lane);
  }
  prepare(head, head / sharers, lane);
  workgroupBarrier();
  if (head % sharers == 0 && span.start < span.end && span.end == step.position + 1) {
    store(row_of(span, step.position), 0, lane);
  }
  let found = attend(span, lane);
  if (lane < COLUMNS) {
    let part = head * groups.y + group.y;
    let divisor = select(1.0, found.sum, groups.y == 1);
    y[2 * (part * COLUMNS + lane)] = found.total[0] / divisor;
    y[2 * (part * COLUMNS + lane) + 1] = found.total[1] / divisor;
    if (groups.y > 1 && lane == 0) {
      y[2 * groups.x * groups.y * COLUMNS + part] = vec4(found.highest, found.sum, 0, 0);
    }
  }
}
