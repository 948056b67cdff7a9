// Random numbers made of (seed, position, token id) alone: the same whatever the workgroups' layout.

// A permutation of the 32-bit numbers: one PCG step and its output function.
fn scramble(x: u32) -> u32 {
  let state = x * 747796405u + 2891336453u;
  let word = ((state >> ((state >> 28) + 4)) ^ state) * 277803737u;
  return (word >> 22) ^ word;
}

// -log(u) for u = (bits + 1/2) / 2^32, with full precision at both ends.
fn exponential(bits: u32) -> f32 {
  let u = (f32(bits) + 0.5) * 0x1p-32;
  let v = (f32(~bits) + 0.5) * 0x1p-32; // 1 - u
  if (v < 0.03125) {
    return v * (1.0 + v * (0.5 + v * (1.0 / 3.0 + v * 0.25)));
  }
  return -log(u);
}

// Standard Gumbel noise: argmax of logit + gumbel is a draw from softmax(logit).
fn gumbel(seed: u32, position: u32, id: u32) -> f32 {
  return -log(exponential(scramble(scramble(scramble(id) ^ position) ^ seed)));
}
