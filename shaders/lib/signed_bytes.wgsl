// Four signed bytes of a word as floats.

//#include places

// `places` takes the last byte as signed; the others are moved up by 128, which MOVED_BY takes away again.
const MOVED_BY = vec4<f32>(128, 128, 128, 0);

fn moved(word: u32) -> vec4<f32> {
  return places(word ^ 0x00808080);
}

fn signed(word: u32) -> vec4<f32> {
  return moved(word) * UNITS - MOVED_BY;
}
