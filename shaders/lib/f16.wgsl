// f16: four vec4 of quants a block, each u32 two weights, the low half first; no scales.

fn four_weights(two: vec2<u32>) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(two.x), unpack2x16float(two.y));
}

//#include block_of_halves
//#include plain_dot
