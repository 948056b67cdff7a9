// q2_k as bytes.

//#include q2_k
//#include bytes

const HALVES = true;

fn weight_bytes(p: Packed) -> Bytes {
  let scale = half_scales(p);
  return Bytes(spread_pairs(p.q.x), spread_pairs(p.q.y), scale.xy, -scale.zw);
}
