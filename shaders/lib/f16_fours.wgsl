// Keys and values, four elements of a row at a time, kept as f16 pairs: u32 [K, C, E/2]. Uses k_cache, v_cache and
// COLUMNS, E/4.

alias Four = vec2<u32>;

fn key(row: u32, column: u32) -> vec4<f32> {
  return halves(k_cache[row * COLUMNS + column]);
}

fn value(row: u32, column: u32) -> vec4<f32> {
  return halves(v_cache[row * COLUMNS + column]);
}
