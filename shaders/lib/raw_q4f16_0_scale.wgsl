// q_scale of MLC's q4f16_0: f16 [groups, N].

//#include raw_columns
//#include raw_half_scale

fn repack_block(index: u32, block: u32) {
  let p = place_of(index);
  put_scale(p.block, raw_u16(params.byte_offset + (p.group * params.file_rows + p.column) * 2));
}
