// f32: eight vec4 of quants a block, which are the weights themselves; no scales.

struct Packed {
  weights: array<vec4<u32>, 8>,
}

fn fetch(block: u32) -> Packed {
  let at = block * 8;
  return Packed(array<vec4<u32>, 8>(
    quants[at], quants[at + 1], quants[at + 2], quants[at + 3],
    quants[at + 4], quants[at + 5], quants[at + 6], quants[at + 7],
  ));
}

fn weight_block(p: Packed) -> array<vec4<f32>, 8> {
  let w = p.weights;
  return array<vec4<f32>, 8>(
    bitcast<vec4<f32>>(w[0]), bitcast<vec4<f32>>(w[1]), bitcast<vec4<f32>>(w[2]), bitcast<vec4<f32>>(w[3]),
    bitcast<vec4<f32>>(w[4]), bitcast<vec4<f32>>(w[5]), bitcast<vec4<f32>>(w[6]), bitcast<vec4<f32>>(w[7]),
  );
}

//#include plain_dot
