// The first 16 bytes of q4_k and q5_k in the file, as the header of lib/six_bits.wgsl: f16 d, f16 dmin, 12 bytes of
// 6-bit numbers, s and m of eight blocks.

//#include raw_k

fn raw_header(at: u32) -> vec4<u32> {
  let s = raw_u32(at + 4);
  let m = raw_u32(at + 8);
  var top = 0u;
  for (var i = 0u; i < 8; i++) {
    let place = i % 4 * 8 + 4 + i / 4 * 2;
    top |= (((s >> place) & 3) | (((m >> place) & 3) << 2)) << (4 * i);
  }
  return vec4<u32>(raw_u32(at), (s & 0x0f0f0f0f) | ((m & 0x0f0f0f0f) << 4), raw_u32(at + 12), top);
}
