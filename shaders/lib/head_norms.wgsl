// 1 / sqrt(mean(x^2) + eps) of one q head and one k head (NORM 1), or of all of q and all of k (NORM 2), of the token
// that begins at `start` of qkv, as in qk_norm, by a workgroup of LANES, a multiple of 16. Uses qkv, params, WIDTH and
// the workgroup's `pool`, which is free again after the next barrier.

override NORM: u32 = 0;

fn norm_factors(start: u32, head: u32, kv_head: u32, lane: u32) -> vec2<f32> {
  let first = start + select(vec2(head, params.heads + kv_head), vec2(0, params.heads), NORM == 2) * WIDTH;
  let count = select(vec2(1u), vec2(params.heads, params.kv_heads), NORM == 2) * WIDTH;
  var sums = vec2<f32>();
  if (NORM == 1) { // a head by 16 lanes
    let head_start = select(first.y, first.x, lane < 16);
    for (var e = 0u; e < WIDTH; e += 16) {
      let value = select(0.0, qkv[head_start + e + lane % 16], e + lane % 16 < WIDTH);
      sums += vec2(value * value);
    }
    sums *= select(vec2(0.0, 1.0), vec2(1.0, 0.0), lane < 16);
    if (lane < 32) {
      pool[lane] = vec4(sums, 0, 0);
    }
    workgroupBarrier();
    sums = vec2<f32>();
    for (var i = 0u; i < 32; i++) {
      sums += pool[i].xy;
    }
  } else {
    for (var i = lane; i < count.x; i += LANES) {
      let both = vec2(qkv[first.x + i], select(0.0, qkv[first.y + i], i < count.y));
      sums += both * both;
    }
    pool[lane] = vec4(sums, 0, 0);
    workgroupBarrier();
    if (lane < 16) {
      for (var other = 16u; other < LANES; other += 16) {
        sums += pool[lane + other].xy;
      }
      pool[lane] = vec4(sums, 0, 0);
    }
    workgroupBarrier();
    sums = vec2<f32>();
    for (var i = 0u; i < 16; i++) {
      sums += pool[i].xy;
    }
  }
  return inverseSqrt(sums / vec2<f32>(count) + params.eps);
}
