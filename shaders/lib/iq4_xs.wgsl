// iq4_xs: weight j = d * (s - 32) * curve(q[j]); one vec4 of quants a block (nibbles). Eight blocks share two u32 of
// scales: d in the low half of the first, the upper two bits of each s in its high half, the lower four in the second.

//#include iq4_curve

struct Packed {
  q: vec4<u32>,
  scale: u32,
  low: u32,
  block: u32,
}

fn fetch(block: u32) -> Packed {
  let at = block / 8 * 2;
  return Packed(quants[block], scales[at], scales[at + 1], block);
}

fn step_size(p: Packed) -> f32 {
  let place = p.block & 7;
  let s = ((p.low >> (4 * place)) & 15) | (((p.scale >> (16 + 2 * place)) & 3) << 4);
  return unpack2x16float(p.scale).x * (f32(s) - 32);
}

fn weight_block(p: Packed) -> array<vec4<f32>, 8> {
  return curve_block(p.q, step_size(p));
}

fn weight_dot(p: Packed, x: ptr<function, array<vec4<f32>, 8>>, xsum: vec4<f32>) -> f32 {
  return step_size(p) * curve_dot(p.q, x);
}
