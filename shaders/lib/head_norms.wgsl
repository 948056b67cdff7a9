// 1 / sqrt(mean(x^2) + eps) of one q head and one k head (NORM 1), or of all of q and all of k (NORM 2), of the token
// that begins at `start` of qkv, as in qk_norm, by a workgroup of LANES, a multiple of 16. Uses qkv, params, WIDTH and
// the workgroup's `pool`; both are free again after the next barrier.

override NORM: u32 = 0;

var<workgroup> norm_sums: array<f32, 32>; // of 16 lanes or groups of them: of q, then of k

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
      norm_sums[lane] = sums.x + sums.y;
    }
  } else {
    for (var i = lane; i < count.x; i += LANES) {
      let both = vec2(qkv[first.x + i], select(0.0, qkv[first.y + i], i < count.y));
      sums += both * both;
    }
    pool[lane] = sums.x;
    pool[LANES + lane] = sums.y;
    workgroupBarrier();
    if (lane < 32) {
      var one = 0.0;
      for (var other = lane % 16; other < LANES; other += 16) {
        one += pool[lane / 16 * LANES + other];
      }
      norm_sums[lane] = one;
    }
  }
  workgroupBarrier();
  sums = vec2<f32>();
  for (var i = 0u; i < 16; i++) {
    sums += vec2(norm_sums[i], norm_sums[16 + i]);
  }
  return inverseSqrt(sums / vec2<f32>(count) + params.eps);
}
