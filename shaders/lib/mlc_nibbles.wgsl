// MLC's four u32 of 32 nibbles, in the order of the weights from the lowest nibble on, as lib/nibbles.wgsl wants them.

// Four nibbles as four bytes.
fn spread_nibbles(nibbles: u32) -> u32 {
  let two = (nibbles | (nibbles << 8)) & 0x00ff00ff;
  return (two | (two << 4)) & 0x0f0f0f0f;
}

fn in_our_order(q: vec4<u32>) -> vec4<u32> {
  let low = vec4<u32>(q.x & 0xffff, q.x >> 16, q.y & 0xffff, q.y >> 16);
  let high = vec4<u32>(q.z & 0xffff, q.z >> 16, q.w & 0xffff, q.w >> 16);
  return vec4<u32>(
    spread_nibbles(low.x) | (spread_nibbles(high.x) << 4), spread_nibbles(low.y) | (spread_nibbles(high.y) << 4),
    spread_nibbles(low.z) | (spread_nibbles(high.z) << 4), spread_nibbles(low.w) | (spread_nibbles(high.w) << 4));
}
