// q4f32_1 as bytes.

//#include q4f32_1
//#include bytes

const HALVES = false;

fn weight_bytes(p: Packed) -> Bytes {
  let d = vec2<f32>(bitcast<f32>(p.scale));
  return Bytes(low_nibbles(p.q), high_nibbles(p.q), d, -7 * d);
}
