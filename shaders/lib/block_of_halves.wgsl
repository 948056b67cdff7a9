// The formats with 16 bits a weight; `halves` decodes four weights.

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
    halves(p.a.xy), halves(p.a.zw), halves(p.b.xy), halves(p.b.zw),
    halves(p.c.xy), halves(p.c.zw), halves(p.d.xy), halves(p.d.zw),
  );
}
