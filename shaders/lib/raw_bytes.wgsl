// Reads from the file's bytes, at any byte: the file's blocks have odd sizes.

fn raw_u32(at: u32) -> u32 {
  let shift = 8 * (at % 4);
  return (raw[at / 4] >> shift) | ((raw[at / 4 + 1] << 1) << (31 - shift));
}

fn raw_u16(at: u32) -> u32 {
  return raw_u32(at) & 0xffff;
}

fn raw_vec4(at: u32) -> vec4<u32> {
  return vec4<u32>(raw_u32(at), raw_u32(at + 4), raw_u32(at + 8), raw_u32(at + 12));
}
