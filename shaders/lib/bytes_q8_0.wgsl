// q8_0 as bytes.

//#include q8_0
//#include bytes

const HALVES = false;

fn weight_bytes(p: Packed) -> Bytes {
  return Bytes(p.a, p.b, vec2<f32>(half_scale(p.scale, p.block)), vec2<f32>());
}
