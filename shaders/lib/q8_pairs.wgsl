// As f16_pairs, kept as in q8_cache: 16 lanes find the peak of 32 elements, every other one writes four bytes, every
// 32nd the peaks. A row's lanes begin at a multiple of 32. Also uses params and KV_HEADS.

//#include q8_cache

override LANES_A_ROW: u32 = PAIRS * 32;

var<workgroup> pairs: array<vec2<f32>, 64>;

fn peak_from(first: u32) -> f32 {
  var peak = vec2<f32>();
  for (var i = 0u; i < 16; i++) {
    peak = max(peak, abs(pairs[first + i]));
  }
  return max(peak.x, peak.y);
}

fn keep(row: u32, of_v: bool, pair: u32, both: vec2<f32>, held: bool, lane: u32) {
  pairs[lane] = select(vec2<f32>(), both, held);
  workgroupBarrier();
  if (held && pair % 2 == 0) {
    let peak = peak_from(lane - lane % 16);
    let bytes = bytes_of(vec4(both, pairs[lane + 1]), peak);
    if (of_v) {
      v_cache[row * (WIDTH / 4) + pair / 2] = bytes;
    } else {
      k_cache[row * (WIDTH / 4) + pair / 2] = bytes;
    }
    if (pair % 32 == 0) {
      let at = params.context * KV_HEADS * (WIDTH / 4) + 2 * (row * PAIRS + pair / 32) + u32(of_v);
      k_cache[at] = packed_peaks(peak, peak_from(lane + 16));
    }
  }
}
