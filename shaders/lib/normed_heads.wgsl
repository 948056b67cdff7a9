// q and k of one token, times the gains of their norms where NORM says so; the norms' factors are left to the end, so
// that loads wait for nothing. Uses qkv, gains, params, WIDTH, LANES and the workgroup's `pool`.

//#include head_norms

fn raw(at: u32) -> f32 {
  return qkv[at];
}

fn element(start: u32, e: u32) -> f32 {
  if (NORM == 0) {
    return qkv[start + e];
  }
  let of_k = start >= params.heads * WIDTH;
  return qkv[start + e] * gains[select(select(e, WIDTH + e, of_k), start + e, NORM == 2)];
}
