// mxfp4 in the file, 17 bytes a block: e, 16 bytes of nibbles. Four e share a u32 of scales, hence the atomics.

//#include raw_bytes

fn repack_block(index: u32, block: u32) {
  let at = params.byte_offset + index * 17;
  quants[block] = raw_vec4(at + 1);
  let shift = 8 * (block % 4);
  atomicAnd(&scales[block / 4], ~(0xffu << shift));
  atomicOr(&scales[block / 4], (raw_u32(at) & 0xff) << shift);
}
