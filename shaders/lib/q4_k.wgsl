// q4_k: weight j = d * s * q[j] - dmin * m. Eight blocks share nine vec4 of quants: a header (d, dmin; s and m of each
// block), then a vec4 of nibbles for each. No scales.

//#include nibbles
//#include six_bits

struct Packed {
  q: vec4<u32>,
  header: vec4<u32>,
  block: u32,
}

fn fetch(block: u32) -> Packed {
  let at = block / 8 * 9;
  return Packed(quants[at + 1 + block % 8], quants[at], block);
}

fn weight_block(p: Packed) -> array<vec4<f32>, 8> {
  let scale = unpack2x16float(p.header.x) * sixes(p.header, p.block);
  return bytes_block(low_nibbles(p.q), high_nibbles(p.q), scale.x, -scale.y);
}

fn weight_dot(p: Packed, x: ptr<function, array<vec4<f32>, 8>>, xsum: vec4<f32>) -> f32 {
  let scale = unpack2x16float(p.header.x) * sixes(p.header, p.block);
  return scale.x * bytes_dot(low_nibbles(p.q), high_nibbles(p.q), x) - scale.y * dot(xsum, vec4<f32>(1));
}
