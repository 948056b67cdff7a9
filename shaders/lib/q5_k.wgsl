// q5_k: weight j = d * s * q[j] - dmin * m. Eight blocks share eleven vec4 of quants: a header (d, dmin; s and m of
// each block), a vec4 of nibbles for each, and a u32 of fifth bits for each. No scales.

//#include nibbles
//#include spread_bits
//#include six_bits

struct Packed {
  q: vec4<u32>,
  header: vec4<u32>,
  bits: u32,
  block: u32,
}

fn fetch(block: u32) -> Packed {
  let at = block / 8 * 11;
  return Packed(quants[at + 1 + block % 8], quants[at], quants[at + 9 + (block & 4) / 4][block & 3], block);
}

fn weight_block(p: Packed) -> array<vec4<f32>, 8> {
  let scale = unpack2x16float(p.header.x) * sixes(p.header, p.block);
  let low = low_nibbles(p.q) | spread_bits(p.bits);
  let high = high_nibbles(p.q) | spread_bits(p.bits >> 16);
  return bytes_block(low, high, scale.x, -scale.y);
}

fn weight_dot(p: Packed, x: ptr<function, array<vec4<f32>, 8>>, xsum: vec4<f32>) -> f32 {
  let scale = unpack2x16float(p.header.x) * sixes(p.header, p.block);
  let low = low_nibbles(p.q) | spread_bits(p.bits);
  let high = high_nibbles(p.q) | spread_bits(p.bits >> 16);
  return scale.x * bytes_dot(low, high, x) - scale.y * dot(xsum, vec4<f32>(1));
}
