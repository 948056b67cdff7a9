// threshold: cut = the order of the smallest logit that top-k, then top-p, then min-p keep (ties are kept)
//
//   Weight of a token: w = exp((logit - best) / temperature). Each filter keeps the tokens from some logit upwards:
//   top-k from the k-th largest; top-p from where the summed weight of the larger ones reaches top_p of what top-k kept;
//   min-p from best + temperature * log(min_p). A radix selection finds the first two in four passes of 8 bits over the
//   logits' orders. Sums are whole numbers of 64 bits (two u32), so their order does not matter: the result is
//   the same in every run. Weights are in units of 2^-40: rounding loses at most V * 2^-40 of the best token's weight.
//
//   logits    f32 [V]   read         padded to a multiple of four
//   sampling  Sampling  read
//   cut       u32 [1]   read_write   see lib/order.wgsl; never above the order of the best logit
//   params    Params    uniform
//   grid      (1, 1, 1)

//#include sampling

struct Params {
  vocab: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> sampling: Sampling;
@group(0) @binding(2) var<storage, read_write> cut: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

const LANES = 256u;

var<workgroup> low: array<atomic<u32>, 256>;
var<workgroup> high: array<atomic<u32>, 256>;
var<workgroup> best: atomic<u32>;
var<workgroup> prefix: u32;

fn total(sum: vec2<u32>) -> f32 {
  return f32(sum.y) * 0x1p32 + f32(sum.x);
}

fn sum_of(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let x = a.x + b.x;
  return vec2(x, a.y + b.y + select(0u, 1u, x < a.x));
}

// The weight of a logit in units of 2^-40.
fn mass(key: u32, top: f32) -> vec2<u32> {
  if (key < MASKED_BELOW) {
    return vec2(0u);
  }
  let w = exp(max(finite(float_of(key)) - top, -1e30) * sampling.inv_temperature) * 256;
  return vec2(u32((w - floor(w)) * 0x1p32), u32(w));
}

fn add(bin: u32, amount: vec2<u32>) {
  if (amount.x > 0) {
    let before = atomicAdd(&low[bin], amount.x);
    if (before + amount.x < before) {
      atomicAdd(&high[bin], 1u);
    }
  }
  if (amount.y > 0) {
    atomicAdd(&high[bin], amount.y);
  }
}

// Sums the amounts of one pass into the bins of 8 bits at `shift`.
fn tally(lane: u32, shift: u32, by_mass: bool, least: u32, top: f32) {
  atomicStore(&low[lane], 0u);
  atomicStore(&high[lane], 0u);
  workgroupBarrier();
  let settled = 0xffffff00u << shift; // the bits that earlier passes chose
  for (var i = lane; i < (params.vocab + 3) / 4; i += LANES) {
    for (var c = 0u; c < 4; c++) {
      let key = order(logits[i][c]);
      if (4 * i + c < params.vocab && key >= least && (key & settled) == prefix) {
        var amount = vec2(1u, 0u);
        if (by_mass) {
          amount = mass(key, top);
        }
        add((key >> shift) & 255, amount);
      }
    }
  }
  workgroupBarrier();
}

// The largest key such that the amounts of all keys from it upwards sum to `wanted` (of 1 when by_mass).
fn select_key(lane: u32, by_mass: bool, wanted: f32, least: u32, top: f32) -> u32 {
  if (lane == 0) {
    prefix = 0;
  }
  var above = vec2<u32>();
  var target_sum = wanted;
  for (var round = 0u; round < 4; round++) {
    let shift = 24 - 8 * round;
    tally(lane, shift, by_mass, least, top);
    if (lane == 0) {
      if (by_mass && round == 0) {
        var all = vec2<u32>();
        for (var bin = 0u; bin < 256; bin++) {
          all = sum_of(all, vec2(atomicLoad(&low[bin]), atomicLoad(&high[bin])));
        }
        target_sum = wanted * total(all);
      }
      var bin = 255u;
      for (; bin > 0; bin--) {
        let next = sum_of(above, vec2(atomicLoad(&low[bin]), atomicLoad(&high[bin])));
        if (total(next) >= target_sum) {
          break;
        }
        above = next;
      }
      prefix |= bin << shift;
    }
    workgroupBarrier(); // the next pass clears the bins
  }
  return workgroupUniformLoad(&prefix);
}

@compute @workgroup_size(LANES)
fn threshold(@builtin(local_invocation_index) lane: u32) {
  var highest = 0u;
  for (var i = lane; i < (params.vocab + 3) / 4; i += LANES) {
    for (var c = 0u; c < 4; c++) {
      highest = max(highest, select(0u, order(logits[i][c]), 4 * i + c < params.vocab));
    }
  }
  atomicMax(&best, highest);
  workgroupBarrier();
  highest = atomicLoad(&best);
  let top = finite(float_of(highest));

  var least = 0u;
  if (sampling.top_k > 0 && sampling.top_k < params.vocab) {
    least = select_key(lane, false, f32(sampling.top_k), 0u, top);
  }
  var kept = least;
  if (sampling.top_p < 1) {
    kept = max(kept, select_key(lane, true, sampling.top_p, least, top));
  }
  if (sampling.margin > -1e38) {
    kept = max(kept, order(top + sampling.margin));
  }
  if (lane == 0) {
    cut[0] = min(kept, highest);
  }
}
