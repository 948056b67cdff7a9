// iq4_xs in the file, 136 bytes for 256 weights: f16 d, 2 bytes of upper bits of s, 4 bytes of lower ones, 128 bytes of
// nibbles, 16 for each block.

//#include raw_bytes

fn repack_block(index: u32, unit: u32) {
  let at = params.byte_offset + index * 136;
  atomicStore(&scales[unit * 2], raw_u32(at));
  atomicStore(&scales[unit * 2 + 1], raw_u32(at + 4));
  for (var i = 0u; i < 8; i++) {
    quants[unit * 8 + i] = raw_vec4(at + 8 + 16 * i);
  }
}
