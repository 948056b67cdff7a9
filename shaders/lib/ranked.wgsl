// What is summed up in the search for a cut, and that search among a few: each is ranked against all others.
// Uses LANES, sampling, `gathered` (orders in workgroup memory), and goal and sum_of of lib/bins.wgsl.

const RANKED = 256u; // so many at most

var<workgroup> amounts: array<vec2<u32>, RANKED>;
var<workgroup> sought: f32;
var<workgroup> reached: atomic<u32>;

// What is summed: tokens, or their weights, of those whose order is at least `least`.
struct Sum {
  by_mass: bool,
  least: u32,
  top: f32, // the best logit
}

fn amount_of(key: u32, sum: Sum) -> vec2<u32> {
  if (key < sum.least) {
    return vec2<u32>();
  }
  if (!sum.by_mass) {
    return vec2(1u, 0u);
  }
  let distance = max(finite(float_of(key)) - sum.top, -1e30);
  let w = select(exp(distance * sampling.inv_temperature) * 256, 0.0, key < MASKED_BELOW);
  return vec2(u32((w - floor(w)) * 0x1p32), u32(w));
}

// The largest order among those gathered such that the sum from it upwards reaches the goal; 0 where none does.
// share: of the sum of all is the goal; below 0: lane 0's goal.
fn ranked(lane: u32, sum: Sum, share: f32, found: u32) -> u32 {
  for (var i = lane; i < found; i += LANES) {
    amounts[i] = amount_of(gathered[i], sum);
  }
  if (lane == 0) {
    sought = goal;
    atomicStore(&reached, 0u);
  }
  workgroupBarrier();
  for (var i = lane; i < found; i += LANES) {
    var all = vec2<u32>();
    var upwards = vec2<u32>();
    for (var j = 0u; j < found; j++) {
      all = sum_of(all, amounts[j]);
      upwards = sum_of(upwards, select(vec2<u32>(), amounts[j], gathered[j] >= gathered[i]));
    }
    if (total(upwards) >= select(sought, share * total(all), share >= 0)) {
      atomicMax(&reached, gathered[i]);
    }
  }
  workgroupBarrier();
  let result = atomicLoad(&reached);
  workgroupBarrier(); // before it is cleared for the next search
  return result;
}
