// Whole numbers that sort like floats: atomicMax and radix selection work on them, and no NaN can win.

const MASKED_BELOW = 0x00800000u; // order(x) of every real number lies above; of -inf and NaN below

fn order(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    return 0u; // NaN
  }
  // -0 and +0 both become 0x80000000
  return select(bits | 0x80000000u, ~bits, bits > 0x80000000u);
}

// The float of an order; only for an order that was made from a number.
fn float_of(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}
