// Keys and values, eight elements of a row at a time, kept as f16 pairs: u32 [K, C, E/2]. What the step itself makes is
// taken from `made`. Uses k_cache, v_cache, TOKENS, COLUMNS (E/8), and is_new(j), newest(j).

alias Eight = vec4<u32>;

var<workgroup> made: array<Eight, 2 * TOKENS * COLUMNS>; // [keys or values, token, column] of this step

alias Held = Eight; // as it is loaded

fn key_at(row: u32, column: u32) -> Held {
  return k_cache[row * COLUMNS + column];
}

fn value_at(row: u32, column: u32) -> Held {
  return v_cache[row * COLUMNS + column];
}

fn made_key(token: u32, column: u32) -> Held {
  return made[token * COLUMNS + column];
}

fn made_value(token: u32, column: u32) -> Held {
  return made[(TOKENS + token) * COLUMNS + column];
}

// What is `held` unless position j is one of the step's own.
fn key_of(j: u32, column: u32, held: Held) -> Held {
  return select(held, made_key(newest(j), column), is_new(j));
}

fn value_of(j: u32, column: u32, held: Held) -> Held {
  return select(held, made_value(newest(j), column), is_new(j));
}

fn opened(held: Held) -> mat2x4<f32> {
  return mat2x4(halves(held.xy), halves(held.zw));
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
