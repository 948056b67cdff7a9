// pick: the best of `best` is the new token; it becomes the next step's input and the step moves on
//
//   tokens[0] = ring[index % R] = id; counts[id] += 1; position += count; count = 1; index += 1
//
//   best    u32 [G, 2]  read         order of the score, token id; G at most 64
//   tokens  u32 [T]     read_write
//   ring    u32 [R]     read_write
//   counts  u32 [V]     read_write   bit 31: seen in the prompt; low bits: times in the answer
//   step    Step        read_write
//   params  Params      uniform
//   grid    (1, 1, 1)

//#include step
//#include sampling

struct Params {
  parts: u32, // G
  ring: u32,  // R
}

@group(0) @binding(0) var<storage, read> best: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(2) var<storage, read_write> ring: array<u32>;
@group(0) @binding(3) var<storage, read_write> counts: array<u32>;
@group(0) @binding(4) var<storage, read_write> step: Step;
@group(0) @binding(5) var<uniform> params: Params;

const LANES = 64u;

var<workgroup> partial: array<vec2<u32>, LANES>;

@compute @workgroup_size(LANES)
fn pick(@builtin(local_invocation_index) lane: u32) {
  partial[lane] = best[min(lane, params.parts - 1)];
  for (var half = LANES / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if (lane < half) {
      partial[lane] = better(partial[lane], partial[lane + half]);
    }
  }
  if (lane == 0) {
    let id = partial[0].y;
    tokens[0] = id;
    ring[step.index % params.ring] = id;
    counts[id] += 1;
    step.position += step.count;
    step.count = 1;
    step.index += 1;
  }
}
