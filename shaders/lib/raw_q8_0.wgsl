// q8_0 in the file, 34 bytes a block: f16 d, 32 signed bytes.

//#include raw_bytes
//#include raw_half_scale

fn repack_block(index: u32, block: u32) {
  let at = params.byte_offset + index * 34;
  quants[block * 2] = raw_vec4(at + 2);
  quants[block * 2 + 1] = raw_vec4(at + 18);
  put_scale(block, raw_u16(at));
}
