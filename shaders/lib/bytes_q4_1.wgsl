// q4_1 as bytes.

//#include q4_1
//#include bytes

const HALVES = false;

fn weight_bytes(p: Packed) -> Bytes {
  let scale = unpack2x16float(p.scale);
  return Bytes(low_nibbles(p.q), high_nibbles(p.q), scale.xx, scale.yy);
}
