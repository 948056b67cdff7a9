// weight_block of the formats with 16 bits a weight; `halves` decodes four weights.

fn weight_block(block: u32) -> array<vec4<f32>, 8> {
  let a = quants[block * 4];
  let b = quants[block * 4 + 1];
  let c = quants[block * 4 + 2];
  let d = quants[block * 4 + 3];
  return array<vec4<f32>, 8>(
    halves(a.xy), halves(a.zw), halves(b.xy), halves(b.zw),
    halves(c.xy), halves(c.zw), halves(d.xy), halves(d.zw),
  );
}
