// The input of a matrix-vector product as attention_step and attention_few leave it in x where they split the
// positions into parts: for each token [H, PARTS, E] of weighted sums, then [H, PARTS, 4] of (highest score, sum of
// weights, 0, 0).

override PARTS: u32 = 1;
override VECTORS: u32 = 1; // E / 4

fn input(token: u32, at: u32) -> vec4<f32> {
  let vectors = params.cols / 4 * PARTS;
  let start = token * (vectors + vectors / VECTORS);
  let part = at / VECTORS * PARTS;
  let scores = start + vectors + part;
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
    total += weight * x[start + (part + s) * VECTORS + at % VECTORS];
  }
  return total / sum;
}

fn begin_input(token: u32, count: u32, local: u32) {
}
