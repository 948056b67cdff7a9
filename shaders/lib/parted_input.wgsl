// The input of a matrix-vector product as attention_step leaves it in x where it split the positions into parts:
// [H, PARTS, E] of weighted sums, then [H, PARTS, 4] of (highest score, sum of weights, 0, 0).

override PARTS: u32 = 1;
override VECTORS: u32 = 1; // E / 4

fn input(at: u32) -> vec4<f32> {
  let part = at / VECTORS * PARTS;
  let scores = params.cols / 4 * PARTS + part;
  var highest = x[scores].x;
  for (var s = 1u; s < PARTS; s++) {
    highest = max(highest, x[scores + s].x);
  }
  var sum = 0.0;
  var total = vec4<f32>();
  for (var s = 0u; s < PARTS; s++) {
    let score = x[scores + s];
    let weight = exp(score.x - highest);
    sum += weight * score.y;
    total += weight * x[(part + s) * VECTORS + at % VECTORS];
  }
  return total / sum;
}
