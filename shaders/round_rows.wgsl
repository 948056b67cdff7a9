// round_rows: X[t, k] = d[t, block] * (bytes[t, k]), each block of 32 columns with a scale of its own, for matmul_int8
//
// A lane rounds four neighbours, a workgroup of 64 lanes eight blocks of one token.
//
//   x       f32x4 [T, K / 4]    read        32 divides K
//   bytes   u32 [T, blocks, 8]  read_write
//   scales  f32x4 [T, blocks]   read_write  d, d times the sum of the bytes of either half, 0
//   step    Step                read
//   params  Params              uniform
//   grid    (ceil(blocks / 8), T, 1)

struct Params {
  cols: u32,   // K
  blocks: u32, // in a row
}

//#include step

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> bytes: array<u32>;
@group(0) @binding(2) var<storage, read_write> scales: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> step: Step;
@group(0) @binding(4) var<uniform> params: Params;

//#include token_input
//#include rounding

var<workgroup> tops: array<f32, 64>; // the largest of each four
var<workgroup> sums: array<i32, 64>;

@compute @workgroup_size(64)
fn round_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let token = group.y;
  let block = group.x * 8 + lane / 8;
  var values = vec4<f32>();
  if (block < params.blocks) { // what follows is the next token's
    values = token_input(token, block * 32 + lane % 8 * 4);
  }
  tops[lane] = largest(values);
  workgroupBarrier();
  let first = lane / 8 * 8;
  var top = 0.0;
  for (var i = first; i < first + 8; i++) {
    top = max(top, tops[i]);
  }
  let word = rounded(values, top);
  sums[lane] = dot4I8Packed(word, 0x01010101u);
  workgroupBarrier();
  if (token >= step.count || block >= params.blocks) {
    return;
  }
  let at = token * params.blocks + block;
  bytes[at * 8 + lane % 8] = word;
  if (lane % 8 == 0) {
    let low = sums[lane] + sums[lane + 1] + sums[lane + 2] + sums[lane + 3];
    let high = sums[lane + 4] + sums[lane + 5] + sums[lane + 6] + sums[lane + 7];
    scales[at] = top / 127 * vec4<f32>(1, f32(low), f32(high), 0);
  }
}
