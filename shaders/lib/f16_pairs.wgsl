// Writes keys and values as f16 pairs: u32 [K, C, E/2]. Uses k_cache, v_cache and WIDTH.

override LANES_A_ROW: u32 = WIDTH / 2;

// Two elements of a row of keys or values, from 2 * pair on. For all lanes of a workgroup, also those that hold none.
fn keep(row: u32, of_v: bool, pair: u32, both: vec2<f32>, held: bool, lane: u32) {
  if (held && of_v) {
    v_cache[row * (WIDTH / 2) + pair] = cached(both);
  } else if (held) {
    k_cache[row * (WIDTH / 2) + pair] = cached(both);
  }
}
