// Keys and values, eight elements of a row at a time, kept as f16 pairs: u32 [K, C, E/2]. What the step itself makes is
// taken from `made`. Uses k_cache, v_cache, TOKENS, COLUMNS (E/8), the workgroup's `query`, and is_new(j), newest(j).

alias Eight = vec4<u32>;

var<workgroup> made: array<Eight, 2 * TOKENS * COLUMNS>; // [keys or values, token, column] of this step

fn key_dot(row: u32, j: u32, column: u32, fresh: bool) -> f32 {
  let k = select(k_cache[row * COLUMNS + column], made[newest(j) * COLUMNS + column], fresh);
  return dot(query[2 * column], halves(k.xy)) + dot(query[2 * column + 1], halves(k.zw));
}

fn weighed(w: f32, row: u32, j: u32, column: u32) -> mat2x4<f32> {
  let new_v = made[(TOKENS + newest(j)) * COLUMNS + column];
  let v = select(v_cache[row * COLUMNS + column], new_v, is_new(j));
  return w * mat2x4(halves(v.xy), halves(v.zw));
}

// Eight elements for made[at]; they are there after the next `settle` and barrier.
fn keep(at: u32, a: vec4<f32>, b: vec4<f32>) {
  made[at] = vec4(cached(a.xy), cached(a.zw), cached(b.xy), cached(b.zw));
}

fn settle(lane: u32) {
}

fn store(row: u32, token: u32, lane: u32) {
  if (lane < COLUMNS) {
    k_cache[row * COLUMNS + lane] = made[token * COLUMNS + lane];
    v_cache[row * COLUMNS + lane] = made[(TOKENS + token) * COLUMNS + lane];
  }
}
