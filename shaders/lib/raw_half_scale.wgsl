// Writes one of the two scales in a u32. The other belongs to another invocation, or to another window of the
// file: hence the atomics.

fn put_scale(block: u32, bits: u32) {
  let shift = 16 * (block % 2);
  atomicAnd(&scales[block / 2], ~(0xffffu << shift));
  atomicOr(&scales[block / 2], bits << shift);
}
