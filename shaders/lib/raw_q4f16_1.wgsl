// q_weight of MLC's q4f16_1 and q4f32_1: four u32 a block.

//#include raw_bytes
//#include mlc_nibbles

fn repack_block(index: u32, block: u32) {
  quants[block] = in_our_order(raw_vec4(params.byte_offset + index * 16));
}
