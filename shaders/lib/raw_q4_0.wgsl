// q4_0 in the file, 18 bytes a block: f16 d, 16 bytes of nibbles.

//#include raw_bytes
//#include raw_half_scale

fn repack_block(index: u32, block: u32) {
  let at = params.byte_offset + index * 18;
  quants[block] = raw_vec4(at + 2);
  put_scale(block, raw_u16(at));
}
