// 32 numbers as q4_0. The number of the largest size becomes -8 with the usual scale; a few finer and coarser steps are
// tried too, each with the d that fits it best (the least squares of d * q - w), which costs nothing at load.

//#include raw_half_scale

fn nearest(x: f32) -> f32 {
  return clamp(round(x), -8, 7);
}

// What a step takes away from the sum of squares, and its d.
fn fit(w: ptr<function, array<f32, 32>>, inverse: f32) -> vec2<f32> {
  var wq = 0.0;
  var qq = 0.0;
  for (var i = 0u; i < 32; i++) {
    let q = nearest((*w)[i] * inverse);
    wq += (*w)[i] * q;
    qq += q * q;
  }
  let d = wq / max(qq, 1);
  return vec2<f32>(wq * d, d);
}

fn put_block(block: u32, w: ptr<function, array<f32, 32>>) {
  var largest = 0.0;
  for (var i = 0u; i < 32; i++) {
    largest = select(largest, (*w)[i], abs((*w)[i]) > abs(largest));
  }
  var best = vec2<f32>();
  for (var i = 0; i < 4; i++) { // the step that makes the largest -7, -7.5, -8, -8.5
    let found = fit(w, select(0, -(7 + 0.5 * f32(i)) / largest, largest != 0));
    best = select(best, found, found.x > best.x);
  }
  let bits = pack2x16float(vec2<f32>(best.y, 0));
  let d = unpack2x16float(bits).x;
  let inverse = select(0, 1 / d, d != 0);
  var words: array<u32, 4>;
  for (var i = 0u; i < 32; i++) {
    let q = u32(nearest((*w)[i] * inverse) + 8);
    words[i % 16 / 4] |= q << (8 * (i % 4) + 4 * (i / 16));
  }
  quants[block] = vec4<u32>(words[0], words[1], words[2], words[3]);
  put_scale(block, bits & 0xffff);
}
