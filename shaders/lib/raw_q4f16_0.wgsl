// q_weight of MLC's q4f16_0: u32 [4 * groups, N].

//#include raw_columns
//#include mlc_nibbles

fn repack_block(index: u32, block: u32) {
  let p = place_of(index);
  let at = params.byte_offset + (p.group * 4 * params.file_rows + p.column) * 4;
  let line = params.file_rows * 4;
  let words = vec4<u32>(raw_u32(at), raw_u32(at + line), raw_u32(at + 2 * line), raw_u32(at + 3 * line));
  quants[p.block] = in_our_order(words);
}
