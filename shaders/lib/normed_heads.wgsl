// The RMS norms of one q head and one k head (NORM 1) or of all of q and all of k (NORM 2), as in qk_norm, by a
// workgroup of at least 16 LANES. Uses qkv, gains, params, WIDTH, LANES and the workgroup's `partial`.

override NORM: u32 = 0;

var<private> factors: vec2<f32>; // of the norms of q and of k

fn norm_factors(head: u32, kv_head: u32, lane: u32) -> vec2<f32> {
  let first = select(vec2(head, params.heads + kv_head), vec2(0, params.heads), NORM == 2) * WIDTH;
  let count = select(vec2(1u), vec2(params.heads, params.kv_heads), NORM == 2) * WIDTH;
  var sums = vec2<f32>();
  for (var i = lane; i < count.x; i += LANES) {
    let both = vec2(qkv[first.x + i], select(0.0, qkv[first.y + i], i < count.y));
    sums += both * both;
  }
  partial[lane][0] = vec4(sums, 0, 0);
  workgroupBarrier();
  if (lane < 16) {
    for (var other = lane + 16; other < LANES; other += 16) {
      sums += partial[other][0].xy;
    }
    partial[lane][0] = vec4(sums, 0, 0);
  }
  workgroupBarrier();
  sums = vec2<f32>();
  for (var i = 0u; i < 16; i++) {
    sums += partial[i][0].xy;
  }
  return inverseSqrt(sums / vec2<f32>(count) + params.eps);
}

fn element(start: u32, e: u32) -> f32 {
  if (NORM == 0) {
    return qkv[start + e];
  }
  let of_k = start >= params.heads * WIDTH;
  let gain = gains[select(select(e, WIDTH + e, of_k), start + e, NORM == 2)];
  return qkv[start + e] * select(factors.x, factors.y, of_k) * gain;
}
