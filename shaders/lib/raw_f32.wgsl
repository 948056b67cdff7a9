// f32 in the file: rows of 32-bit weights, not padded.

//#include raw_bytes

fn raw_weight(row: u32, col: u32) -> u32 {
  return select(0, raw_u32(params.byte_offset + (row * params.cols + col) * 4), col < params.cols);
}

fn repack_block(index: u32, block: u32) {
  let row = index / params.blocks;
  let col = index % params.blocks * 32;
  for (var i = 0u; i < 8; i++) {
    let c = col + 4 * i;
    quants[block * 8 + i] =
      vec4<u32>(raw_weight(row, c), raw_weight(row, c + 1), raw_weight(row, c + 2), raw_weight(row, c + 3));
  }
}
