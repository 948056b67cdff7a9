// draft: tokens that followed the newest ones where they last stood before come after the newest one in this step
//
//   history is first brought up to date with the ids in ring. Then: of all earlier places where the newest two, three
//   or four ids stand, the last one of those with most in common. What followed there, and again from there on where
//   that is not enough, goes to tokens[1 …]; count = 1 + DRAFTS, less where the answer (limit) or the cache (end)
//   ends before, 0 where there is nothing left to choose.
//
//   history   u32 [C]         read_write   ids by position; the host writes those below `known`
//   ring      u32 [R]         read         ids chosen, slot index % R
//   tokens    u32 [T]         read_write   tokens[0] is the newest, at step.position
//   drafting  Drafting        read_write
//   step      Step            read_write
//   params    Params          uniform
//   grid      (1, 1, 1)

//#include step
//#include drafting

struct Params {
  ring: u32, // R
}

@group(0) @binding(0) var<storage, read_write> history: array<u32>;
@group(0) @binding(1) var<storage, read> ring: array<u32>;
@group(0) @binding(2) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(3) var<storage, read_write> drafting: Drafting;
@group(0) @binding(4) var<storage, read_write> step: Step;
@group(0) @binding(5) var<uniform> params: Params;

override LANES: u32 = 256;
override DRAFTS: u32 = 3; // T - 1
const LEAST = 2u; // ids in common
const MOST = 4u;
const PLACES = 1u << 28; // more than there are

var<workgroup> found: atomic<u32>; // ids in common * PLACES + place

fn shared_ids(place: u32, newest: u32) -> u32 {
  var n = 0u;
  while (n < MOST && n <= place && history[place - n] == history[newest - n]) {
    n++;
  }
  return n;
}

@compute @workgroup_size(LANES)
fn draft(@builtin(local_invocation_index) lane: u32) {
  let newest = step.position;
  let first = newest + 1 - step.index; // where ring's first id stands
  for (var place = drafting.known + lane; place <= newest; place += LANES) {
    history[place] = ring[(place - first) % params.ring];
  }
  storageBarrier();
  workgroupBarrier();
  var best = 0u;
  for (var place = lane + 1; place < newest; place += LANES) {
    let n = shared_ids(place, newest);
    if (n >= LEAST) {
      best = max(best, n * PLACES + place);
    }
  }
  atomicMax(&found, best);
  workgroupBarrier();
  if (lane == 0) {
    let place = atomicLoad(&found) % PLACES; // 0: none
    let room = min(drafting.limit - min(step.index, drafting.limit), drafting.end - min(newest, drafting.end));
    step.count = min(select(1, 1 + DRAFTS, place > 0), room);
    for (var i = 0u; i < DRAFTS && place > 0; i++) {
      tokens[1 + i] = history[place + 1 + i % (newest - place)];
    }
    drafting.known = newest + 1;
  }
}
