// What the K types have in common in the file: 256 weights in eight blocks of 32. Bit fields lie there in bytes l of
// weights l of several blocks.

//#include raw_bytes

const LOW = vec4<u32>(0x0f0f0f0f);

// 32 bytes of nibbles: the low ones are one block, the high ones another.
fn put_nibbles(at: u32, low_to: u32, high_to: u32) {
  let a = raw_vec4(at);
  let b = raw_vec4(at + 16);
  quants[low_to] = (a & LOW) | ((b & LOW) << vec4<u32>(4));
  quants[high_to] = ((a >> vec4<u32>(4)) & LOW) | (b & ~LOW);
}

// Bit `place` of 32 bytes: bit j of byte j.
fn gather_bits(at: u32, place: u32) -> u32 {
  var bits = 0u;
  for (var i = 0u; i < 8; i++) {
    let four = (raw_u32(at + 4 * i) >> place) & 0x01010101;
    bits |= ((four * 0x10204080) >> 28) << (4 * i); // the product brings the four bits together
  }
  return bits;
}

// The same of `place` to place + 3, as one vec4.
fn put_bits(at: u32, place: u32, to: u32) {
  quants[to] = vec4<u32>(
    gather_bits(at, place), gather_bits(at, place + 1), gather_bits(at, place + 2), gather_bits(at, place + 3));
}

// Bits `place` and place + 1 of 16 bytes, in the order that spread_pairs takes.
fn gather_pairs(at: u32, place: u32) -> u32 {
  var pairs = 0u;
  for (var i = 0u; i < 4; i++) {
    pairs |= ((raw_u32(at + 4 * i) >> place) & 0x03030303) << (2 * i);
  }
  return pairs;
}

// The same of 64 bytes that hold eight blocks, `to` the first of four vec4.
fn put_pairs(at: u32, to: u32) {
  for (var i = 0u; i < 4; i++) {
    let from_byte = at + i / 2 * 32;
    let place = i % 2 * 4;
    quants[to + i] = vec4<u32>(
      gather_pairs(from_byte, place), gather_pairs(from_byte + 16, place),
      gather_pairs(from_byte, place + 2), gather_pairs(from_byte + 16, place + 2));
  }
}
