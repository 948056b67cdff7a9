// q3f16_1: weight j = d * (q[j] - 3), d for each 40 weights of a row; one vec4 of quants a block: two u32 of the low
// pairs of bits, one of third bits, one of the two f16 d that a block may meet. No scales.

//#include places
//#include spread_bits

struct Packed {
  q: vec4<u32>,
  block: u32,
}

fn fetch(block: u32) -> Packed {
  return Packed(quants[block], block);
}

fn threes(pairs: u32, bits: u32) -> vec4<u32> {
  return spread_pairs(pairs) | (spread_bits(bits) >> vec4<u32>(2));
}

fn weight_block(p: Packed) -> array<vec4<f32>, 8> {
  let scale = unpack2x16float(p.q.w);
  let rest = (40 - p.block % params.blocks * 32 % 40) / 4; // vectors of the first scale
  let low = threes(p.q.x, p.q.z);
  let high = threes(p.q.y, p.q.z >> 16);
  var w: array<vec4<f32>, 8>;
  for (var i = 0u; i < 8; i++) {
    let word = select(high[i & 3], low[i & 3], i < 4);
    w[i] = (places(word) * UNITS - 3) * select(scale.y, scale.x, i < rest);
  }
  return w;
}

//#include plain_dot
