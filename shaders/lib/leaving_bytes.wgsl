// Leaves results of a workgroup in y as lib/left_input.wgsl says. Uses TOKENS.

//#include left_input
//#include rounding

override LEAVES: u32 = 16; // so many results of each token, a multiple of 16
override OUT: u32 = 1;     // rows of results have so many blocks of 32

var<workgroup> leaving: array<f32, TOKENS * LEAVES>; // times the next norm's weight
var<workgroup> plain: array<f32, TOKENS * LEAVES>;

fn four_leaving(i: u32) -> vec4<f32> {
  return vec4<f32>(leaving[i], leaving[i + 1], leaving[i + 2], leaving[i + 3]);
}

// Lane i < TOKENS * LEAVES has a token's result number `element`, where i % 16 = element % 16. What is left of
// token 0 begins at u32 `first` of y. inside: whether there is such a result. All lanes call it.
fn leave(local: u32, value: f32, gain: f32, element: u32, first: u32, token: u32, inside: bool) {
  if (local < TOKENS * LEAVES) {
    leaving[local] = value * gain;
    plain[local] = value;
  }
  workgroupBarrier();
  if (local >= TOKENS * LEAVES || !inside || local % 4 != 0) {
    return;
  }
  let start = first + token * 4 * left_vectors(OUT);
  let group = local / 16 * 16;
  let tops = vec4<f32>(
    largest(four_leaving(group)), largest(four_leaving(group + 4)),
    largest(four_leaving(group + 8)), largest(four_leaving(group + 12)));
  let top = largest(tops);
  y[start + element / 4] = rounded(four_leaving(local), top);
  if (local != group) {
    return;
  }
  var sum = 0;
  var squares = 0.0;
  for (var i = group; i < group + 16; i += 4) {
    sum += dot4I8Packed(rounded(four_leaving(i), top), 0x01010101u);
    let four = vec4<f32>(plain[i], plain[i + 1], plain[i + 2], plain[i + 3]);
    squares += dot(four, four);
  }
  let place = start + 8 * OUT + element / 32 * 4 + element / 16 % 2;
  y[place] = bitcast<u32>(top / 127);
  y[place + 2] = bitcast<u32>(top / 127 * f32(sum));
  y[start + 12 * OUT + element / 16] = bitcast<u32>(squares);
}
