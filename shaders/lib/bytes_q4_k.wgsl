// q4_k as bytes.

//#include q4_k
//#include bytes

const HALVES = false;

fn weight_bytes(p: Packed) -> Bytes {
  let scale = unpack2x16float(p.header.x) * sixes(p.header, p.block);
  return Bytes(low_nibbles(p.q), high_nibbles(p.q), scale.xx, -scale.yy);
}
