// q6_k as bytes.

//#include q6_k
//#include bytes

const HALVES = true;

fn weight_bytes(p: Packed) -> Bytes {
  let d = half_scales(p);
  return Bytes(low_sixes(p), high_sixes(p), d, -32 * d);
}
