// lib/centred_nibbles.wgsl as bytes.

//#include bytes

const HALVES = false;

fn weight_bytes(p: Packed) -> Bytes {
  let d = half_scale(p.scale, p.block);
  return Bytes(low_nibbles(p.q), high_nibbles(p.q), vec2<f32>(d), vec2<f32>(-CENTRE * d));
}
