// 32 numbers as q8_0: d = the largest size / 127, as f16, and each number divided by that d, rounded.

//#include raw_half_scale

fn put_block(block: u32, w: ptr<function, array<f32, 32>>) {
  var largest = 0.0;
  for (var i = 0u; i < 32; i++) {
    largest = max(largest, abs((*w)[i]));
  }
  let bits = pack2x16float(vec2<f32>(largest / 127, 0));
  let d = unpack2x16float(bits).x;
  let inverse = select(0, 1 / d, d > 0);
  var words: array<u32, 8>;
  for (var i = 0u; i < 32; i++) {
    let q = i32(clamp(round((*w)[i] * inverse), -127, 127));
    words[i / 4] |= (bitcast<u32>(q) & 0xff) << (8 * (i % 4));
  }
  quants[block * 2] = vec4<u32>(words[0], words[1], words[2], words[3]);
  quants[block * 2 + 1] = vec4<u32>(words[4], words[5], words[6], words[7]);
  put_scale(block, bits & 0xffff);
}
