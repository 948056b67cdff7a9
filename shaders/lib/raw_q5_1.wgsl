// q5_1 in the file, 24 bytes a block: f16 d, f16 m, u32 of fifth bits, 16 bytes of nibbles.

//#include raw_bytes

fn repack_block(index: u32, block: u32) {
  let at = params.byte_offset + index * 24;
  quants[block] = raw_vec4(at + 8);
  atomicStore(&scales[block * 2], raw_u32(at + 4));
  atomicStore(&scales[block * 2 + 1], raw_u32(at));
}
