// What the lanes of a workgroup have summed up of its rows, for each of up to TOKENS tokens, put together.
// Uses LANES, TEAMS, ROWS, NORM, params and SIZE = LANES * TEAMS of the module scope.

override TOKENS: u32 = 1;         // 1 to 4
override STRIDE: u32 = LANES + 1; // one more, against bank conflicts

var<workgroup> partial: array<f32, TOKENS * TEAMS * ROWS * STRIDE>; // [token, row, lane]
var<workgroup> squares: array<f32, TOKENS * SIZE>;

// A lane's share of its team's rows, and of the squares of the input.
fn put(t: u32, sums: vec4<f32>, own_squares: f32, local: u32) {
  let at = (t * ROWS * TEAMS + local / LANES) * STRIDE + local % LANES;
  squares[t * SIZE + local] = own_squares;
  partial[at] = sums.x;
  if (ROWS > 1) {
    partial[at + TEAMS * STRIDE] = sums.y;
  }
  if (ROWS > 2) {
    partial[at + 2 * TEAMS * STRIDE] = sums.z;
  }
  if (ROWS > 3) {
    partial[at + 3 * TEAMS * STRIDE] = sums.w;
  }
}

fn total(t: u32, row: u32) -> f32 {
  let start = (t * ROWS * TEAMS + row) * STRIDE;
  var four = vec4<f32>();
  for (var i = 0u; i < LANES; i += 4) { // as often as is known beforehand, so that all loads are on their way at once
    let at = start + i;
    four += vec4<f32>(partial[at], partial[at + 1], partial[at + 2], partial[at + 3]);
  }
  return dot(four, vec4<f32>(1));
}

fn norm_factor(t: u32) -> f32 {
  if (!NORM) {
    return 1;
  }
  var four = vec4<f32>();
  for (var i = 0u; i < SIZE; i += 4) {
    let at = t * SIZE + i;
    four += vec4<f32>(squares[at], squares[at + 1], squares[at + 2], squares[at + 3]);
  }
  return inverseSqrt(dot(four, vec4<f32>(1)) / f32(params.cols) + params.eps);
}
