// The scale of formats with one f16 a block: two blocks share a u32, the even one has the low half.

fn half_scale(word: u32, block: u32) -> f32 {
  return unpack2x16float(word >> (16 * (block % 2))).x;
}
