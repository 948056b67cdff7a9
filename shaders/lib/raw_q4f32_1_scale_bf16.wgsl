// q_scale of MLC's q4f32_1 where f32 is stored as bf16: 16 bits a block.

//#include raw_bytes

fn repack_block(index: u32, block: u32) {
  atomicStore(&scales[block], raw_u16(params.byte_offset + index * 2) << 16);
}
