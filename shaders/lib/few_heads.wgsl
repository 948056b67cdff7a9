// One q head of a token, and the k and v heads of it and of those before it in this step, normed as in normed_heads and
// rotated. Uses qkv, gains, params, WIDTH, COLUMNS, SLICES, LANES, TOKENS, the workgroup's pool and query, and `keep`.

//#include head_norms
//#include rope

const MOST = 8u; // tokens

var<private> q_factor: f32;
var<private> k_factors: array<f32, MOST>;
var<private> base: u32; // where the chosen token begins in qkv
var<private> factor: f32;

fn token_start(token: u32) -> u32 {
  return token * (params.heads + 2 * params.kv_heads) * WIDTH;
}

fn norm_tokens(last: u32, head: u32, kv_head: u32, lane: u32) {
  for (var t = 0u; t <= last; t++) {
    let factors = norm_factors(token_start(t), head, kv_head, lane);
    workgroupBarrier(); // before the next token's
    q_factor = factors.x; // the last one's stays
    k_factors[t] = factors.y;
  }
}

// Whose `element`s are wanted.
fn choose(token: u32, of_q: bool) {
  base = token_start(token);
  factor = 1;
  if (NORM > 0) {
    factor = select(k_factors[token], q_factor, of_q);
  }
}

fn element(start: u32, e: u32) -> f32 {
  if (NORM == 0) {
    return qkv[base + start + e];
  }
  let of_k = start >= params.heads * WIDTH;
  return qkv[base + start + e] * gains[select(select(e, WIDTH + e, of_k), start + e, NORM == 2)];
}

// Four elements from `e` of the head at `start`, rotated to position p.
fn turned(start: u32, e: u32, p: u32) -> vec4<f32> {
  return vec4(rotated(start, e, p), rotated(start, e + 1, p), rotated(start, e + 2, p), rotated(start, e + 3, p));
}

fn plain(at: u32) -> vec4<f32> {
  return vec4(qkv[at], qkv[at + 1], qkv[at + 2], qkv[at + 3]);
}

fn prepare(token: u32, head: u32, kv_head: u32, lane: u32) {
  let k_start = (params.heads + kv_head) * WIDTH;
  let each = SLICES * COLUMNS; // whole rows
  for (var first = 0u; first < (2 * token + 4) * COLUMNS; first += each) {
    let i = first + lane;
    if (lane < each && i < 2 * COLUMNS) {
      choose(token, true);
      query[i] = turned(head * WIDTH, i * 4, step.position + token) * factor * params.scale;
    } else if (lane < each && i < (2 * token + 4) * COLUMNS) {
      let t = i / COLUMNS / 2 - 1;
      let e = i % COLUMNS * 8;
      choose(t, false);
      if (i / COLUMNS % 2 == 0) {
        let p = step.position + t;
        keep(t * COLUMNS + i % COLUMNS, turned(k_start, e, p) * factor, turned(k_start, e + 4, p) * factor);
      } else {
        let at = base + k_start + params.kv_heads * WIDTH + e;
        keep((TOKENS + t) * COLUMNS + i % COLUMNS, plain(at), plain(at + 4));
      }
    }
    settle(lane);
  }
}
