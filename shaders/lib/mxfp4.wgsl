// mxfp4: weight j = 2^(e - 128) * curve(q[j]); one vec4 of quants a block (nibbles), e in a byte of scales.

//#include curved_nibbles

struct Packed {
  q: vec4<u32>,
  scale: u32,
  block: u32,
}

// Twice a 4-bit float: a sign, then 0, 1, 2, 3, 4, 6, 8, 12.
fn curve(q: vec4<f32>) -> vec4<f32> {
  let negative = q >= vec4<f32>(8);
  let n = select(q, q - 8, negative);
  let size = max(n, max(2 * n - 4, 4 * n - 16));
  return select(size, -size, negative);
}

fn fetch(block: u32) -> Packed {
  return Packed(quants[block], scales[block / 4], block);
}

// Zero instead of 2^-128 and 2^-127, which are subnormal.
fn power(p: Packed) -> f32 {
  let e = (p.scale >> (8 * (p.block & 3))) & 0xff;
  return bitcast<f32>((max(e, 1) - 1) << 23);
}

fn weight_block(p: Packed) -> array<vec4<f32>, 8> {
  return curve_block(p.q, power(p));
}

fn weight_dot(p: Packed, x: ptr<function, array<vec4<f32>, 8>>, xsum: vec4<f32>) -> f32 {
  return power(p) * curve_dot(p.q, x);
}
