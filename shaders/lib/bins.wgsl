// 256 bins in workgroup memory that are summed into by all LANES lanes (at least 16), and the search for the bin that
// a sum reaches. Sums are whole numbers of 64 bits, vec2(low, high): their order does not matter.

var<workgroup> low: array<atomic<u32>, 256>;
var<workgroup> high: array<atomic<u32>, 256>;
var<workgroup> groups: array<vec2<u32>, 16>; // each 16 bins
var<workgroup> chosen: u32;
var<private> goal: f32; // lane 0's: what `choose` looks for,
var<private> above: vec2<u32>; // and what lies over all bins

fn total(sum: vec2<u32>) -> f32 {
  return f32(sum.y) * 0x1p32 + f32(sum.x);
}

fn sum_of(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let x = a.x + b.x;
  return vec2(x, a.y + b.y + select(0u, 1u, x < a.x));
}

fn bin_sum(bin: u32) -> vec2<u32> {
  return vec2(atomicLoad(&low[bin]), atomicLoad(&high[bin]));
}

fn clear_bins(lane: u32) {
  for (var bin = lane; bin < 256; bin += LANES) {
    atomicStore(&low[bin], 0u);
    atomicStore(&high[bin], 0u);
  }
  workgroupBarrier();
}

fn add_to_bin(bin: u32, amount: vec2<u32>) {
  var carry = 0u;
  if (amount.x > 0) {
    let before = atomicAdd(&low[bin], amount.x);
    carry = select(0u, 1u, before + amount.x < before);
  }
  if (amount.y + carry > 0) {
    atomicAdd(&high[bin], amount.y + carry);
  }
}

// The largest bin such that `above`, it and all bins over it sum to the goal; those over it are added to `above`.
// share: of the sum of all bins is the new goal; below 0: the goal stays.
fn choose(lane: u32, share: f32) -> u32 {
  workgroupBarrier();
  if (lane < 16) {
    var sum = vec2<u32>();
    for (var bin = lane * 16; bin < lane * 16 + 16; bin++) {
      sum = sum_of(sum, bin_sum(bin));
    }
    groups[lane] = sum;
  }
  workgroupBarrier();
  if (lane == 0) {
    var all = vec2<u32>();
    for (var group = 0u; group < 16; group++) {
      all = sum_of(all, groups[group]);
    }
    goal = select(goal, share * total(all), share >= 0);
    var group = 15u;
    for (; group > 0 && total(sum_of(above, groups[group])) < goal; group--) {
      above = sum_of(above, groups[group]);
    }
    var bin = group * 16 + 15;
    for (; bin > group * 16 && total(sum_of(above, bin_sum(bin))) < goal; bin--) {
      above = sum_of(above, bin_sum(bin));
    }
    chosen = bin;
  }
  return workgroupUniformLoad(&chosen);
}
