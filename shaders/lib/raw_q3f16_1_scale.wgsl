// q_scale of MLC's q3f16_1: one f16 for each 40 weights of a row; a block of 32 meets one or two of them.

//#include raw_bytes

fn repack_block(index: u32, block: u32) {
  let groups = (params.cols + 39) / 40;
  let row = params.byte_offset + index / params.blocks * groups * 2;
  let group = index % params.blocks * 32 / 40;
  let next = min(group + 1, groups - 1);
  quants[block].w = raw_u16(row + group * 2) | (raw_u16(row + next * 2) << 16);
}
