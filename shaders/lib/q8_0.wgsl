// q8_0: weight j = d * q[j]; two vec4 of quants a block (32 signed bytes), d in half a u32 of scales.

//#include half_scale
//#include places

// `places` takes the last byte as signed; the others are moved up by 128, which MOVED_BY takes away again.
const MOVED_BY = vec4<f32>(128, 128, 128, 0);

fn moved(word: u32) -> vec4<f32> {
  return places(word ^ 0x00808080);
}

fn signed(word: u32) -> vec4<f32> {
  return moved(word) * UNITS - MOVED_BY;
}

fn weight_block(block: u32) -> array<vec4<f32>, 8> {
  let d = scale_of(block);
  let a = quants[block * 2];
  let b = quants[block * 2 + 1];
  return array<vec4<f32>, 8>(
    d * signed(a.x), d * signed(a.y), d * signed(a.z), d * signed(a.w),
    d * signed(b.x), d * signed(b.y), d * signed(b.z), d * signed(b.w),
  );
}

fn weight_dot(block: u32, x: ptr<function, array<vec4<f32>, 8>>, xsum: vec4<f32>) -> f32 {
  let a = quants[block * 2];
  let b = quants[block * 2 + 1];
  let low = moved(a.x) * (*x)[0] + moved(a.y) * (*x)[1] + moved(a.z) * (*x)[2] + moved(a.w) * (*x)[3];
  let high = moved(b.x) * (*x)[4] + moved(b.y) * (*x)[5] + moved(b.z) * (*x)[6] + moved(b.w) * (*x)[7];
  return scale_of(block) * (dot(low + high, UNITS) - dot(xsum, MOVED_BY));
}
