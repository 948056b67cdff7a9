// q6_k in the file, 210 bytes for 256 weights: 128 bytes of nibbles, 64 bytes of upper bits, 16 signed bytes s, f16 d.
// Of every 64 bytes of nibbles the low ones are two blocks and the high ones the next two.

//#include raw_k

fn repack_block(index: u32, unit: u32) {
  let at = params.byte_offset + index * 210;
  let to = unit * 13;
  quants[to] = raw_vec4(at + 192);
  for (var i = 0u; i < 4; i++) {
    let block = to + 1 + i / 2 * 4 + i % 2;
    put_nibbles(at + 32 * i, block, block + 2);
  }
  put_pairs(at + 128, to + 9);
  atomicStore(&scales[unit], bitcast<u32>(unpack2x16float(raw_u16(at + 208)).x));
}
