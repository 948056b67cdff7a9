// q3_k in the file, 110 bytes for 256 weights: 32 bytes of third bits, 64 bytes of the low pairs of bits, 12 bytes of
// 6-bit s, f16 d. The s: low fours of 0 to 7 in the low nibbles of 8 bytes, of 8 to 15 in the high ones; then 4 bytes
// of their upper pairs, bits 2k of byte i for s of number 4k + i.

//#include raw_k

fn repack_block(index: u32, unit: u32) {
  let at = params.byte_offset + index * 110;
  let to = unit * 7;
  put_header(at + 96, to);
  put_pairs(at + 32, to + 1);
  for (var i = 0u; i < 2; i++) {
    put_bits(at, 4 * i, to + 5 + i);
  }
}

// As lib/six_bits.wgsl wants it: the two s of block b are numbers 2b and 2b + 1.
fn put_header(at: u32, to: u32) {
  let fours = vec2<u32>(raw_u32(at), raw_u32(at + 4));
  let pairs = raw_u32(at + 8);
  var header = vec4<u32>(raw_u16(at + 12), 0, 0, 0);
  for (var i = 0u; i < 16; i++) {
    let low = (fours[i / 4 % 2] >> (i % 4 * 8 + i / 8 * 4)) & 15;
    header[1 + i / 8] |= low << (4 * (i % 8));
    header.w |= ((pairs >> (i % 4 * 8 + i / 4 * 2)) & 3) << (2 * i);
  }
  quants[to] = header;
}
