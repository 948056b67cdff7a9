// iq4_nl: weight j = d * curve(q[j]); one vec4 of quants a block (nibbles), d in half a u32 of scales.

//#include half_scale
//#include iq4_curve

struct Packed {
  q: vec4<u32>,
  scale: u32,
  block: u32,
}

fn fetch(block: u32) -> Packed {
  return Packed(quants[block], scales[block / 2], block);
}

fn weight_block(p: Packed) -> array<vec4<f32>, 8> {
  return curve_block(p.q, half_scale(p.scale, p.block));
}

fn weight_dot(p: Packed, x: ptr<function, array<vec4<f32>, 8>>, xsum: vec4<f32>) -> f32 {
  return half_scale(p.scale, p.block) * curve_dot(p.q, x);
}
