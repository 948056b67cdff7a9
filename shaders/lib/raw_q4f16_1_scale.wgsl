// q_scale of MLC's q4f16_1: one f16 a block.

//#include raw_bytes
//#include raw_half_scale

fn repack_block(index: u32, block: u32) {
  put_scale(block, raw_u16(params.byte_offset + index * 2));
}
