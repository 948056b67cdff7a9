// q_weight of MLC's q3f16_1: four u32 for each 40 weights of a row, ten weights of three bits in each.

//#include raw_bytes

fn repack_block(index: u32, block: u32) {
  let row = params.byte_offset + index / params.blocks * ((params.cols + 39) / 40 * 16);
  let col = index % params.blocks * 32;
  var pairs: array<u32, 2>;
  var bits = 0u;
  for (var i = 0u; i < min(32, params.cols - col); i++) {
    let k = col + i;
    let q = (raw_u32(row + k / 10 * 4) >> (3 * (k % 10))) & 7;
    pairs[i / 16] |= (q & 3) << (8 * (i % 4) + i % 16 / 4 * 2); // as spread_pairs takes them
    bits |= (q >> 2) << i;
  }
  quants[block].x = pairs[0];
  quants[block].y = pairs[1];
  quants[block].z = bits;
}
