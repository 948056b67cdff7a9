// What a generation samples with; local_llm/ops/sampling.py packs it and says what the numbers mean.

//#include order

struct Sampling {
  inv_temperature: f32, // at most 1e6
  top_k: u32,           // 0: off
  top_p: f32,           // 1: off
  margin: f32,          // temperature * log(min_p), 0 or less; below -1e38: off
  repetition: f32,
  presence: f32,
  frequency: f32,
}

// Infinite logits become large ones: arithmetic on infinities is not portable.
fn finite(logit: f32) -> f32 {
  return clamp(logit, -1e37, 1e37);
}

// A candidate is vec2(order of its score, token id); of equal scores the lowest id is better.
fn better(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return select(b, a, a.x > b.x || (a.x == b.x && a.y < b.y));
}
