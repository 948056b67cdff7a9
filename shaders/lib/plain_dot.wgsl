// weight_dot of the formats whose weights are stored as they are, without a scale to factor out.

fn weight_dot(p: Packed, x: ptr<function, array<vec4<f32>, 8>>, xsum: vec4<f32>) -> f32 {
  let w = weight_block(p);
  return dot(w[0], (*x)[0]) + dot(w[1], (*x)[1]) + dot(w[2], (*x)[2]) + dot(w[3], (*x)[3])
    + dot(w[4], (*x)[4]) + dot(w[5], (*x)[5]) + dot(w[6], (*x)[6]) + dot(w[7], (*x)[7]);
}
