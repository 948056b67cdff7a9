// q_scale of MLC's q4f32_1: one f32 a block.

//#include raw_bytes

fn repack_block(index: u32, block: u32) {
  atomicStore(&scales[block], raw_u32(params.byte_offset + index * 4));
}
