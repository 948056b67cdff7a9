// Keys and values as signed bytes: u32 [K, C, E/4] in k_cache and in v_cache. 32 elements of a row share a step, which
// is their peak (the largest of their sizes, as f16) / 127. Behind the keys lie the peaks, u32 [K, C, PAIRS, 2]: of 64
// elements of a row of keys, two halves, then of as many of the row of values. Uses WIDTH.

//#include signed_bytes

override PAIRS: u32 = (WIDTH + 63) / 64; // the last one's peaks may have no elements

const HIGHEST_PEAK = 65504.0; // the largest f16

fn packed_peaks(low: f32, high: f32) -> u32 {
  return pack2x16float(min(vec2(low, high), vec2(HIGHEST_PEAK)));
}

// Of the elements from 32 * group on, whose 64 have these peaks.
fn step_of(peaks: u32, group: u32) -> f32 {
  let both = unpack2x16float(peaks);
  return select(both.x, both.y, (group & 1) == 1) * (1.0 / 127);
}

fn largest(a: vec4<f32>) -> f32 {
  let sizes = abs(a);
  return max(max(sizes.x, sizes.y), max(sizes.z, sizes.w));
}

fn bytes_of(a: vec4<f32>, peak: f32) -> u32 {
  let kept = unpack2x16float(packed_peaks(peak, 0)).x;
  let inverse = select(0, 127 / kept, kept > 0);
  let q = vec4<u32>(vec4<i32>(clamp(round(a * inverse), vec4(-127.0), vec4(127.0)))) & vec4(0xffu);
  return q.x | (q.y << 8) | (q.z << 16) | (q.w << 24);
}
