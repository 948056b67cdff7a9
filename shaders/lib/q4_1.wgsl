// q4_1: weight j = d * q[j] + m; one vec4 of quants a block (nibbles), one u32 of scales (d low half, m high half).

//#include nibbles

struct Packed {
  q: vec4<u32>,
  scale: u32,
}

fn fetch(block: u32) -> Packed {
  return Packed(quants[block], scales[block]);
}

fn weight_block(p: Packed) -> array<vec4<f32>, 8> {
  let scale = unpack2x16float(p.scale);
  return bytes_block(low_nibbles(p.q), high_nibbles(p.q), scale.x, scale.y);
}

fn weight_dot(p: Packed, x: ptr<function, array<vec4<f32>, 8>>, xsum: vec4<f32>) -> f32 {
  let scale = unpack2x16float(p.scale);
  return scale.x * bytes_dot(low_nibbles(p.q), high_nibbles(p.q), x) + scale.y * dot(xsum, vec4<f32>(1));
}
