// One block of the input of a matrix-vector product, times the norm's weight if there is one. The norm's factor
// 1 / sqrt(mean(x^2) + eps) is left to the end: lanes only add up the squares of what they read.
// Uses the module-scope names x, norm and params.cols.

override NORM: bool = false;
override ALIGNED: bool = true; // cols is a multiple of 32

struct Input {
  values: array<vec4<f32>, 8>,
  sum: vec4<f32>, // of values, by component
  squares: f32,   // of x, before the norm's weight
}

fn input4(at: u32) -> vec4<f32> {
  if (ALIGNED) {
    return x[at];
  }
  let col = vec4<u32>(at * 4) + vec4<u32>(0, 1, 2, 3);
  return select(vec4<f32>(), x[at], col < vec4<u32>(params.cols));
}

fn load_input(block: u32) -> Input {
  let at = block * 8;
  var input: Input;
  input.values = array<vec4<f32>, 8>(
    input4(at), input4(at + 1), input4(at + 2), input4(at + 3),
    input4(at + 4), input4(at + 5), input4(at + 6), input4(at + 7),
  );
  if (NORM) {
    let v = input.values;
    input.squares = dot(v[0], v[0]) + dot(v[1], v[1]) + dot(v[2], v[2]) + dot(v[3], v[3])
      + dot(v[4], v[4]) + dot(v[5], v[5]) + dot(v[6], v[6]) + dot(v[7], v[7]);
    input.values = array<vec4<f32>, 8>(
      v[0] * norm[at], v[1] * norm[at + 1], v[2] * norm[at + 2], v[3] * norm[at + 3],
      v[4] * norm[at + 4], v[5] * norm[at + 5], v[6] * norm[at + 6], v[7] * norm[at + 7],
    );
  }
  let v = input.values;
  input.sum = v[0] + v[1] + v[2] + v[3] + v[4] + v[5] + v[6] + v[7];
  return input;
}
