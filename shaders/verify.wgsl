// verify: the chosen ids as far as the drafts before them were right; the step moves on by as many
//
//   chosen[t] is the best of `best` for row t. It counts if tokens[1 …t] are chosen[0 …t - 1]. The last one that
//   counts becomes the next step's input; all that count go to ring, and with their number to answers[steps % A].
//
//   best      u32 [T, G, 2]     read         order of the score, token id; G at most 64
//   tokens    u32 [T]           read_write
//   ring      u32 [R]           read_write
//   answers   u32 [A, 1 + T]    read_write   how many count, and which
//   drafting  Drafting          read_write
//   step      Step              read_write
//   params    Params            uniform
//   grid      (1, 1, 1)

//#include step
//#include sampling
//#include drafting

struct Params {
  parts: u32,   // G
  ring: u32,    // R
  answers: u32, // A
}

@group(0) @binding(0) var<storage, read> best: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(2) var<storage, read_write> ring: array<u32>;
@group(0) @binding(3) var<storage, read_write> answers: array<u32>;
@group(0) @binding(4) var<storage, read_write> drafting: Drafting;
@group(0) @binding(5) var<storage, read_write> step: Step;
@group(0) @binding(6) var<uniform> params: Params;

override TOKENS: u32 = 4; // T, at most 8
const LANES = 32u; // of a row

var<workgroup> partial: array<vec2<u32>, TOKENS * LANES>;

@compute @workgroup_size(TOKENS * LANES)
fn verify(@builtin(local_invocation_index) local: u32) {
  let row = local / LANES * params.parts;
  let lane = local % LANES;
  partial[local] = better(best[row + min(lane, params.parts - 1)], best[row + min(lane + LANES, params.parts - 1)]);
  for (var half = LANES / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if (lane < half) {
      partial[local] = better(partial[local], partial[local + half]);
    }
  }
  workgroupBarrier();
  if (local == 0) {
    var right = min(step.count, 1u);
    while (right > 0 && right < step.count && partial[(right - 1) * LANES].y == tokens[right]) {
      right++;
    }
    let answer = drafting.steps % params.answers * (1 + TOKENS);
    answers[answer] = right;
    for (var i = 0u; i < right; i++) {
      let id = partial[i * LANES].y;
      answers[answer + 1 + i] = id;
      ring[(step.index + i) % params.ring] = id;
      tokens[0] = id;
    }
    drafting.steps += 1;
    step.position += right;
    step.index += right;
    step.count = 1;
  }
}
