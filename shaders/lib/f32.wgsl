// f32: eight vec4 of quants a block, which are the weights themselves; no scales.

fn weight_block(block: u32) -> array<vec4<f32>, 8> {
  let at = block * 8;
  return array<vec4<f32>, 8>(
    bitcast<vec4<f32>>(quants[at]),
    bitcast<vec4<f32>>(quants[at + 1]),
    bitcast<vec4<f32>>(quants[at + 2]),
    bitcast<vec4<f32>>(quants[at + 3]),
    bitcast<vec4<f32>>(quants[at + 4]),
    bitcast<vec4<f32>>(quants[at + 5]),
    bitcast<vec4<f32>>(quants[at + 6]),
    bitcast<vec4<f32>>(quants[at + 7]),
  );
}

//#include plain_dot
