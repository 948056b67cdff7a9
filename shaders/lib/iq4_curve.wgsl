// The sixteen values of IQ4 types, -127 to 113: a polynomial that comes within 0.44 of each, rounded. Tables would have
// to be indexed by every weight, which costs more.

//#include curved_nibbles

fn curve(q: vec4<f32>) -> vec4<f32> {
  let t = q - 7.5;
  return round((((0.001586 * t + 0.078668) * t - 0.13719) * t + 11.517) * t - 4.3012);
}
