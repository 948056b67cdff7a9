// q5_0 in the file, 22 bytes a block: f16 d, u32 of fifth bits, 16 bytes of nibbles.

//#include raw_bytes

fn repack_block(index: u32, block: u32) {
  let at = params.byte_offset + index * 22;
  quants[block] = raw_vec4(at + 6);
  atomicStore(&scales[block * 2], raw_u32(at + 2));
  atomicStore(&scales[block * 2 + 1], raw_u16(at));
}
