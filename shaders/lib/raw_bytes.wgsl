// Reads from the file's bytes, at any even byte.

fn raw_u16(at: u32) -> u32 {
  return (raw[at / 4] >> (8 * (at & 2))) & 0xffff;
}

fn raw_u32(at: u32) -> u32 {
  return raw_u16(at) | (raw_u16(at + 2) << 16);
}

fn raw_vec4(at: u32) -> vec4<u32> {
  return vec4<u32>(raw_u32(at), raw_u32(at + 4), raw_u32(at + 8), raw_u32(at + 12));
}
