// q4_k in the file, 144 bytes for 256 weights: header, 128 bytes of nibbles.

//#include raw_mins

fn repack_block(index: u32, unit: u32) {
  let at = params.byte_offset + index * 144;
  quants[unit * 9] = raw_header(at);
  for (var i = 0u; i < 4; i++) {
    put_nibbles(at + 16 + 32 * i, unit * 9 + 1 + 2 * i, unit * 9 + 2 + 2 * i);
  }
}
