// ROWS dot products of rows of W with one input, by one lane alone: for CPU adapters, where barriers and loads are
// dear, so that a lane reads the input once for many rows. Uses quants, scales and what normed_input uses.

//#include weight
//#include normed_input

override ROWS: u32 = 8; // at most 32

var<private> starts: array<u32, 32>; // the first block of each row
var<private> sums: array<f32, 32>;

fn sum_rows() {
  var squares = 0.0;
  for (var block = 0u; block < params.blocks; block++) {
    var input = load_input(block);
    squares += input.squares;
    for (var i = 0u; i < ROWS; i++) {
      sums[i] += weight_dot(fetch(starts[i] + block), &input.values, input.sum);
    }
  }
  if (NORM) {
    let scale = inverseSqrt(squares / f32(params.cols) + params.eps);
    for (var i = 0u; i < ROWS; i++) {
      sums[i] *= scale;
    }
  }
}
