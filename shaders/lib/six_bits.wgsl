// A header that eight blocks share: x holds their f16 scales, y, z and w two 6-bit numbers for each block, the low four
// bits of both in a byte of y (blocks 0 to 3) or z (4 to 7), the upper two of both in a nibble of w.

fn sixes(header: vec4<u32>, block: u32) -> vec2<f32> {
  let low = select(header.y, header.z, (block & 4) != 0) >> (8 * (block & 3));
  let top = header.w >> (4 * (block & 7));
  return vec2<f32>(vec2<u32>((low & 15) | ((top & 3) << 4), ((low >> 4) & 15) | ((top & 12) << 2)));
}
