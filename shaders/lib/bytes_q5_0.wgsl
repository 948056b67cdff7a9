// q5_0 as bytes.

//#include q5_0
//#include bytes

const HALVES = false;

fn weight_bytes(p: Packed) -> Bytes {
  let d = unpack2x16float(p.scale).xx;
  return Bytes(low_fives(p), high_fives(p), d, -16 * d);
}
