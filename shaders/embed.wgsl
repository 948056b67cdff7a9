// embed: x[t, :] (+)= factor * W[tokens[t], :]
//
//   ADD adds to what x holds. FROM 1 takes row step.position + t of W instead, FROM 2 row 0.
//
//   quants  u32x4 [N, blocks, …]      read        a part of W, see docs/architecture.md
//   scales  u32 [N, blocks, …]        read
//   tokens  u32 [T]                   read
//   x       f32 [T, K]                read_write  rows of tokens in other parts are left alone
//   step    Step                      read
//   params  Params                    uniform
//   grid    (ceil(blocks / LANES), T)  one invocation per block

struct Params {
  row_start: u32, // of this part
  rows: u32,      // N, of this part
  cols: u32,      // K
  blocks: u32,    // in a row
  factor: f32,
}

//#include step

@group(0) @binding(0) var<storage, read> quants: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> scales: array<u32>;
@group(0) @binding(2) var<storage, read> tokens: array<u32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;
@group(0) @binding(4) var<storage, read> step: Step;
@group(0) @binding(5) var<uniform> params: Params;

override LANES: u32 = 64;
override ADD: bool = false;
override FROM: u32 = 0;

//#include weight

@compute @workgroup_size(LANES)
fn embed(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let block = group.x * LANES + local;
  let token = group.y;
  if (token >= step.count || block >= params.blocks) {
    return;
  }
  let chosen = select(select(step.position + token, tokens[token], FROM == 0), 0, FROM == 2);
  let row = chosen - params.row_start; // wraps around for rows of earlier parts
  if (row >= params.rows) {
    return;
  }
  var weights = weight_block(fetch(row * params.blocks + block));
  let col = block * 32;
  let start = token * params.cols + col;
  for (var i = 0u; i < 32; i++) { // as often as is known beforehand, so that weights stay in registers
    if (col + i < params.cols) {
      let value = weights[i / 4][i % 4] * params.factor;
      x[start + i] = select(value, x[start + i] + value, ADD);
    }
  }
}
