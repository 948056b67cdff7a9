// argmax: best[g] = the best token of the g-th part of the vocabulary; `pick` takes the best of them
//
//   NOISE: the score is logit / temperature + Gumbel(seed, position of the new token, id), whose argmax is a draw from
//   softmax(logit / temperature); else the logit. CUT: only tokens from cut[0] upwards compete. A NaN never wins
//   against a number; among equal scores the lowest id wins. FEW: T rows of logits, of which step.count are there; row
//   t chooses the token of position + t + 1.
//
//   logits    f32 [T, stride]  read         T = 1 unless FEW
//   sampling  Sampling         read
//   cut       u32 [T]          read         order of the smallest logit that competes
//   step      Step             read
//   best      u32 [T, G, 2]    read_write   order of the score, token id
//   params    Params           uniform
//   grid      (G, T, 1)                     one workgroup per row and part of `span` tokens

//#include step
//#include sampling
//#include random

struct Params {
  vocab: u32,
  span: u32,
  stride: u32, // of rows; used with FEW
}

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> sampling: Sampling;
@group(0) @binding(2) var<storage, read> cut: array<u32>;
@group(0) @binding(3) var<storage, read> step: Step;
@group(0) @binding(4) var<storage, read_write> best: array<vec2<u32>>;
@group(0) @binding(5) var<uniform> params: Params;

override NOISE: bool;
override CUT: bool;
override FEW: bool = false;
override LANES: u32 = 64;

var<workgroup> partial: array<vec2<u32>, LANES>;

fn score(row: u32, id: u32) -> u32 {
  let logit = logits[row * params.stride + id];
  let key = order(logit);
  if (key == 0 || (CUT && key < cut[row])) {
    return 0u;
  }
  if (NOISE && key >= MASKED_BELOW) {
    let noise = gumbel(step.seed, step.position + select(step.count, row + 1, FEW), id);
    return order(finite(logit * sampling.inv_temperature) + noise);
  }
  return key;
}

@compute @workgroup_size(LANES)
fn argmax(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  if (FEW && group.y >= step.count) {
    return;
  }
  let start = group.x * params.span;
  let end = min(start + params.span, params.vocab);
  var mine = vec2(0u, 0xffffffffu);
  for (var id = start + lane; id < end; id += LANES) {
    mine = better(mine, vec2(score(group.y, id), id));
  }
  partial[lane] = mine;
  for (var half = LANES / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if (lane < half) {
      partial[lane] = better(partial[lane], partial[lane + half]);
    }
  }
  if (lane == 0) {
    best[group.y * groups.x + group.x] = partial[0];
  }
}
