// f16 in the file: rows of 16-bit weights, not padded.

//#include raw_bytes

fn raw_pair(row: u32, col: u32) -> u32 {
  let at = params.byte_offset + (row * params.cols + col) * 2;
  let low = select(0, raw_u16(at), col < params.cols);
  return low | select(0, raw_u16(at + 2) << 16, col + 1 < params.cols);
}

fn repack_block(index: u32, block: u32) {
  let row = index / params.blocks;
  let col = index % params.blocks * 32;
  for (var i = 0u; i < 4; i++) {
    let c = col + 8 * i;
    quants[block * 4 + i] =
      vec4<u32>(raw_pair(row, c), raw_pair(row, c + 2), raw_pair(row, c + 4), raw_pair(row, c + 6));
  }
}
