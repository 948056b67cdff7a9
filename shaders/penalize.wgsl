// penalize: repetition, presence and frequency penalties on the raw logits, in place
//
//   A token seen in prompt or answer: a positive logit is divided by `repetition`, a negative one multiplied (CTRL).
//   A token of the answer, seen n times there: minus presence, minus n * frequency (OpenAI).
//
//   logits    f32 [V]   read_write
//   counts    u32 [V]   read         bit 31: seen in the prompt; low bits: times in the answer
//   sampling  Sampling  read
//   params    Params    uniform
//   grid      V invocations in workgroups of 64, spread over x and y

//#include sampling

struct Params {
  vocab: u32,
}

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read> counts: array<u32>;
@group(0) @binding(2) var<storage, read> sampling: Sampling;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(64)
fn penalize(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = (group.x + group.y * groups.x) * 64 + lane;
  if (id >= params.vocab || counts[id] == 0 || order(logits[id]) < MASKED_BELOW) {
    return;
  }
  let times = counts[id] & 0x7fffffffu;
  var logit = logits[id];
  logit = select(logit * sampling.repetition, logit / sampling.repetition, logit > 0);
  if (times > 0) {
    logit -= sampling.presence + f32(times) * sampling.frequency;
  }
  logits[id] = finite(logit);
}
