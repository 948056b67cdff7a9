// threshold: cut = the order of the smallest logit that top-k, then top-p, then min-p keep (ties are kept)
//
//   Weight of a token: w = exp((logit - best) / temperature). Each filter keeps the tokens from some logit upwards:
//   top-k from the k-th largest; top-p from where the weights of the larger ones sum to top_p of what top-k kept; min-p
//   from best + temperature * log(min_p). The first two: 256 coarse bins over the distance to the best say
//   where the cut is, or lies above (for a small k the bins hold each lane's best logit alone: the k-th of those is
//   none of the k best); the logits from there upwards are gathered in workgroup memory (if they are too many, all
//   logits are read again and again). A few are ranked against each other; four passes of 8 bits over their orders find
//   the cut among many.
//   Sums are whole numbers of 64 bits (two u32), so that their order does not matter: every run gives the same result.
//   A weight is in units of 2^-40 of the best one's: rounding loses at most V * 2^-40 of it.
//
//   logits    f32 [T, V]  read         rows padded to a multiple of four
//   sampling  Sampling    read
//   cut       u32 [T]     read_write   see lib/order.wgsl; never above the order of the best logit
//   params    Params      uniform
//   grid      (T, 1, 1)                one workgroup per row; LANES at least 16

//#include sampling
//#include bins

struct Params {
  vocab: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> sampling: Sampling;
@group(0) @binding(2) var<storage, read_write> cut: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

override LANES: u32 = 256;
const CAPACITY = 2048u;

//#include ranked

var<private> row_start: u32; // in logits
var<workgroup> best: atomic<u32>;
var<workgroup> gathered: array<u32, CAPACITY>;
var<workgroup> gathered_count: atomic<u32>;
var<workgroup> found: u32; // gathered_count at the end

// The orders of four logits; 0 past the end of the vocabulary.
fn orders(block: u32) -> vec4<u32> {
  let x = logits[row_start + block];
  let key = vec4(order(x.x), order(x.y), order(x.z), order(x.w));
  return select(vec4(0u), key, vec4(4 * block) + vec4(0, 1, 2, 3) < vec4(params.vocab));
}

fn count(bin: u32, key: u32, sum: Sum) {
  if (key >= sum.least) {
    add_to_bin(bin, amount_of(key, sum));
  }
}

// Bins of 1/8 of a logit, or (by mass) of the temperature; 255 holds the best, 0 all that is far away.
fn coarse_bin(key: u32, sum: Sum) -> u32 {
  let scale = select(8.0, 8.0 * sampling.inv_temperature, sum.by_mass);
  let distance = min(sum.top - finite(float_of(key)), 1e30) * scale;
  return select(255 - u32(min(distance, 255.0)), 0u, key < MASKED_BELOW);
}

fn take(keys: vec4<u32>, least: u32, sum: Sum) {
  for (var c = 0u; c < 4; c++) {
    if (coarse_bin(keys[c], sum) >= least) {
      let slot = atomicAdd(&gathered_count, 1u);
      if (slot < CAPACITY) {
        gathered[slot] = keys[c];
      }
    }
  }
}

// own: the best of the lane's orders.
fn gather(lane: u32, sum: Sum, share: f32, own: u32) {
  let blocks = (params.vocab + 3) / 4;
  clear_bins(lane);
  if (!sum.by_mass && sampling.top_k <= min(LANES / 4, blocks)) {
    if (own > 0) {
      count(coarse_bin(own, sum), own, sum);
    }
  } else {
    for (var i = lane; i < blocks; i += LANES) {
      let keys = orders(i);
      for (var c = 0u; c < 4; c++) {
        count(coarse_bin(keys[c], sum), keys[c], sum);
      }
    }
  }
  let least = choose(lane, share);
  for (var i = lane; i < blocks; i += 4 * LANES) { // four loads on their way at once
    let near = orders(i);
    let next = orders(i + LANES);
    let third = orders(i + 2 * LANES);
    let far = orders(i + 3 * LANES);
    take(near, least, sum);
    take(next, least, sum);
    take(third, least, sum);
    take(far, least, sum);
  }
  workgroupBarrier();
  if (lane == 0) {
    found = atomicLoad(&gathered_count);
  }
}

// The largest order such that the sum from it upwards reaches the goal.
fn exact(lane: u32, sum: Sum, share: f32) -> u32 {
  let count_found = workgroupUniformLoad(&found);
  if (count_found <= RANKED) {
    return ranked(lane, sum, share, count_found);
  }
  var prefix = 0u;
  above = vec2<u32>();
  for (var shift = 32u; shift > 0;) {
    shift -= 8;
    let settled = 0xffffff00u << shift;
    clear_bins(lane);
    if (count_found <= CAPACITY) {
      for (var i = lane; i < count_found; i += LANES) {
        if ((gathered[i] & settled) == prefix) {
          count((gathered[i] >> shift) & 255, gathered[i], sum);
        }
      }
    } else {
      for (var i = lane; i < (params.vocab + 3) / 4; i += LANES) {
        let keys = orders(i);
        for (var c = 0u; c < 4; c++) {
          if ((keys[c] & settled) == prefix) {
            count((keys[c] >> shift) & 255, keys[c], sum);
          }
        }
      }
    }
    prefix |= choose(lane, select(-1.0, share, shift == 24)) << shift;
  }
  return prefix;
}

@compute @workgroup_size(LANES)
fn threshold(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  row_start = group.x * ((params.vocab + 3) / 4);
  var highest = 0u;
  for (var i = lane; i < (params.vocab + 3) / 4; i += 4 * LANES) {
    let keys = max(max(orders(i), orders(i + LANES)), max(orders(i + 2 * LANES), orders(i + 3 * LANES)));
    highest = max(highest, max(max(keys.x, keys.y), max(keys.z, keys.w)));
  }
  let own = highest;
  atomicMax(&best, highest);
  workgroupBarrier();
  highest = atomicLoad(&best);
  let top = finite(float_of(highest));

  let by_count = sampling.top_k > 0 && sampling.top_k < params.vocab;
  let by_mass = sampling.top_p < 1;
  var kept = 0u;
  if (by_count) {
    let tokens = Sum(false, 0u, top);
    goal = f32(sampling.top_k);
    gather(lane, tokens, -1.0, own);
    kept = exact(lane, tokens, -1.0);
  } else if (by_mass) {
    gather(lane, Sum(true, 0u, top), sampling.top_p, own);
  }
  if (by_mass) {
    kept = max(kept, exact(lane, Sum(true, kept, top), select(sampling.top_p, -1.0, !by_count)));
  }
  if (sampling.margin > -1e38) {
    kept = max(kept, order(top + sampling.margin));
  }
  if (lane == 0) {
    cut[group.x] = min(kept, highest);
  }
}
