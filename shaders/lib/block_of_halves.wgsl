// The formats with 16 bits a weight; `four_weights` decodes four weights.

struct Packed {
  a: vec4<u32>,
  b: vec4<u32>,
  c: vec4<u32>,
  d: vec4<u32>,
}

fn fetch(block: u32) -> Packed {
  return Packed(quants[block * 4], quants[block * 4 + 1], quants[block * 4 + 2], quants[block * 4 + 3]);
}

fn weight_block(p: Packed) -> array<vec4<f32>, 8> {
  return array<vec4<f32>, 8>(
    four_weights(p.a.xy), four_weights(p.a.zw), four_weights(p.b.xy), four_weights(p.b.zw),
    four_weights(p.c.xy), four_weights(p.c.zw), four_weights(p.d.xy), four_weights(p.d.zw),
  );
}
