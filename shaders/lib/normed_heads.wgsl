// q and k of one token, normed as in qk_norm where NORM says so. Uses qkv, gains, params, WIDTH, LANES and the
// workgroup's `pool`.

//#include head_norms

var<private> factors: vec2<f32>; // of the norms of q and of k

fn element(start: u32, e: u32) -> f32 {
  if (NORM == 0) {
    return qkv[start + e];
  }
  let of_k = start >= params.heads * WIDTH;
  let gain = gains[select(select(e, WIDTH + e, of_k), start + e, NORM == 2)];
  return qkv[start + e] * select(factors.x, factors.y, of_k) * gain;
}
