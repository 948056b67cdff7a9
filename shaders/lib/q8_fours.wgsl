// Keys and values, four elements of a row at a time, kept as in q8_cache. Uses k_cache, v_cache, params, WIDTH and
// COLUMNS, E/4.

//#include q8_cache

alias Four = u32;

fn step_at(row: u32, column: u32, of_v: u32) -> f32 {
  let peaks = params.kv_heads * params.context * COLUMNS;
  return step_of(k_cache[peaks + 2 * (row * PAIRS + column / 16) + of_v], column / 8);
}

fn key(row: u32, column: u32) -> vec4<f32> {
  return step_at(row, column, 0) * signed(k_cache[row * COLUMNS + column]);
}

fn value(row: u32, column: u32) -> vec4<f32> {
  return step_at(row, column, 1) * signed(v_cache[row * COLUMNS + column]);
}
