// q4_1 in the file, 20 bytes a block: f16 d, f16 m, 16 bytes of nibbles.

//#include raw_bytes

fn repack_block(index: u32, block: u32) {
  let at = params.byte_offset + index * 20;
  quants[block] = raw_vec4(at + 4);
  atomicStore(&scales[block], raw_u32(at));
}
