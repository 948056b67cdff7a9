// Four bytes of a word as floats without shifts, which cost more than all else on CPU adapters: byte i comes times
// 256^i, and UNITS takes that away again, exactly, once per sum. The last byte is signed.

const UNITS = vec4<f32>(1, 0x1p-8, 0x1p-16, 0x1p-24);

fn places(word: u32) -> vec4<f32> {
  return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(word) & vec4<u32>(0xff, 0xff00, 0xff0000, 0xff000000)));
}
