// q2_k in the file, 84 bytes for 256 weights: 16 bytes of s and m, 64 bytes of pairs of bits, f16 d, f16 dmin.

//#include raw_k

fn repack_block(index: u32, unit: u32) {
  let at = params.byte_offset + index * 84;
  quants[unit * 5] = raw_vec4(at);
  put_pairs(at + 16, unit * 5 + 1);
  atomicStore(&scales[unit], raw_u32(at + 80));
}
