// What attention leaves in y of one query of one head: with one part its result, else [H, S, E] of weighted sums, then
// [H, S, 4] of (highest score, sum of weights, 0, 0). With PAST always in parts, then [H, E] of q, rotated and scaled,
// and [K, E] of the newest k and of v as the cache has them: lib/newest_input.wgsl. Uses y, params, WIDTH.

var<private> left_at: u32;   // where the result begins in y
var<private> scores_at: u32; // and what joins it with other parts
var<private> whole: bool;

fn leave_at(token: u32, head: u32, part: u32, parts: u32) {
  whole = parts == 1 && !PAST;
  let sums = params.heads * parts * WIDTH;
  let start = token * (sums + select(4 * params.heads * parts, 0u, whole) + newest_size());
  left_at = start + (head * parts + part) * WIDTH;
  scores_at = start + sums + 4 * (head * parts + part);
}

fn newest_size() -> u32 {
  return select(0u, (params.heads + 2 * params.kv_heads) * WIDTH, PAST);
}

// Where what the token's newest position adds begins.
fn newest_at(token: u32, parts: u32) -> u32 {
  let before = params.heads * parts * (WIDTH + 4);
  return token * (before + newest_size()) + before;
}

fn leave(e: u32, total: f32, sum: f32, highest: f32) {
  y[left_at + e] = total / select(1.0, sum, whole);
  if (!whole && e == 0) {
    y[scores_at] = highest;
    y[scores_at + 1] = sum;
    y[scores_at + 2] = 0;
    y[scores_at + 3] = 0;
  }
}

fn leave_four(at: u32, four: vec4<f32>) {
  y[at] = four.x;
  y[at + 1] = four.y;
  y[at + 2] = four.z;
  y[at + 3] = four.w;
}

fn leave_query(at: u32, head: u32, lane: u32) {
  if (lane < 2 * COLUMNS) {
    leave_four(at + head * WIDTH + 4 * lane, query[lane]);
  }
}

// Key and value number j of the step, which `made` has.
fn leave_newest(at: u32, kv_head: u32, j: u32, lane: u32) {
  if (lane < COLUMNS) {
    let key = opened(made_key(j, lane));
    let value = opened(made_value(j, lane));
    let k = at + (params.heads + kv_head) * WIDTH + 8 * lane;
    let v = k + params.kv_heads * WIDTH;
    leave_four(k, key[0]);
    leave_four(k + 4, key[1]);
    leave_four(v, value[0]);
    leave_four(v + 4, value[1]);
  }
}
