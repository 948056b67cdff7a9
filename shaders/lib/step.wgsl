// What varies every token. The host writes it before a prefill chunk; `pick` advances it while decoding.

struct Step {
  position: u32, // of the first token of this step in the sequence
  count: u32,    // tokens in this step (T)
  index: u32,    // tokens chosen so far; slot of the next one in the ring is index % RING
  seed: u32,     // of this generation's random numbers
}
