// q8_0: weight j = d * q[j]; two vec4 of quants a block (32 signed bytes), d in half a u32 of scales.

//#include half_scale
//#include signed_bytes

struct Packed {
  a: vec4<u32>,
  b: vec4<u32>,
  scale: u32,
  block: u32,
}

fn fetch(block: u32) -> Packed {
  return Packed(quants[block * 2], quants[block * 2 + 1], scales[block / 2], block);
}

fn weight_block(p: Packed) -> array<vec4<f32>, 8> {
  let d = half_scale(p.scale, p.block);
  return array<vec4<f32>, 8>(
    d * signed(p.a.x), d * signed(p.a.y), d * signed(p.a.z), d * signed(p.a.w),
    d * signed(p.b.x), d * signed(p.b.y), d * signed(p.b.z), d * signed(p.b.w),
  );
}

fn weight_dot(p: Packed, x: ptr<function, array<vec4<f32>, 8>>, xsum: vec4<f32>) -> f32 {
  let low = moved(p.a.x) * (*x)[0] + moved(p.a.y) * (*x)[1] + moved(p.a.z) * (*x)[2] + moved(p.a.w) * (*x)[3];
  let high = moved(p.b.x) * (*x)[4] + moved(p.b.y) * (*x)[5] + moved(p.b.z) * (*x)[6] + moved(p.b.w) * (*x)[7];
  return half_scale(p.scale, p.block) * (dot(low + high, UNITS) - dot(xsum, MOVED_BY));
}
