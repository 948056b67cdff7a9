// q5_k in the file, 176 bytes for 256 weights: header, 32 bytes of fifth bits, 128 bytes of nibbles.

//#include raw_mins

fn repack_block(index: u32, unit: u32) {
  let at = params.byte_offset + index * 176;
  let to = unit * 11;
  quants[to] = raw_header(at);
  for (var i = 0u; i < 4; i++) {
    put_nibbles(at + 48 + 32 * i, to + 1 + 2 * i, to + 2 + 2 * i);
  }
  for (var i = 0u; i < 2; i++) {
    put_bits(at + 16, 4 * i, to + 9 + i);
  }
}
