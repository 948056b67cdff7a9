// bf16: four vec4 of quants a block, each u32 two weights, the low half first; no scales.

fn four_weights(two: vec2<u32>) -> vec4<f32> {
  let low = two << vec2<u32>(16);
  let high = two & vec2<u32>(0xffff0000);
  return bitcast<vec4<f32>>(vec4<u32>(low.x, high.x, low.y, high.y));
}

//#include block_of_halves
//#include plain_dot
