// q5_k as bytes.

//#include q5_k
//#include bytes

const HALVES = false;

fn weight_bytes(p: Packed) -> Bytes {
  let scale = unpack2x16float(p.header.x) * sixes(p.header, p.block);
  let low = low_nibbles(p.q) | spread_bits(p.bits);
  let high = high_nibbles(p.q) | spread_bits(p.bits >> 16);
  return Bytes(low, high, scale.xx, -scale.yy);
}
