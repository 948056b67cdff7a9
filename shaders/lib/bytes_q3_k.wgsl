// q3_k as bytes.

//#include q3_k
//#include bytes

const HALVES = true;

fn weight_bytes(p: Packed) -> Bytes {
  let d = half_scales(p);
  return Bytes(threes(p.low.x, p.bits), threes(p.low.y, p.bits >> 16), d, -4 * d);
}
