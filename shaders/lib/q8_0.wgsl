// q8_0: weight j = d * q[j]; two vec4 of quants a block (32 signed bytes), d in half a u32 of scales.

//#include half_scale

fn bytes(word: u32) -> vec4<f32> {
  return vec4<f32>(unpack4xI8(word));
}

fn weight_block(block: u32) -> array<vec4<f32>, 8> {
  let d = scale_of(block);
  let a = quants[block * 2];
  let b = quants[block * 2 + 1];
  return array<vec4<f32>, 8>(
    d * bytes(a.x), d * bytes(a.y), d * bytes(a.z), d * bytes(a.w),
    d * bytes(b.x), d * bytes(b.y), d * bytes(b.z), d * bytes(b.w),
  );
}

fn weight_dot(block: u32, x: ptr<function, array<vec4<f32>, 8>>, xsum: f32) -> f32 {
  let a = quants[block * 2];
  let b = quants[block * 2 + 1];
  let low = dot(bytes(a.x), (*x)[0]) + dot(bytes(a.y), (*x)[1]) + dot(bytes(a.z), (*x)[2]) + dot(bytes(a.w), (*x)[3]);
  let high = dot(bytes(b.x), (*x)[4]) + dot(bytes(b.y), (*x)[5]) + dot(bytes(b.z), (*x)[6]) + dot(bytes(b.w), (*x)[7]);
  return scale_of(block) * (low + high);
}
