// q5_1 as bytes.

//#include q5_1
//#include bytes

const HALVES = false;

fn weight_bytes(p: Packed) -> Bytes {
  let scale = unpack2x16float(p.scale);
  return Bytes(low_fives(p), high_fives(p), scale.xx, scale.yy);
}
