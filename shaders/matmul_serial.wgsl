// matmul_serial: Y[t, offset + n] (+)= X[t, :] . W[n, :] (+ bias[n]) for all T tokens, as matmul, without barriers
//
// For CPU adapters, where barriers and loads are dear: a lane computes ROWS rows, LANES apart, x 4 tokens, alone.
//
//   quants  u32x4 [N, blocks, …]      read        a part of W, see docs/architecture.md
//   scales  u32 [N, blocks, …]        read
//   x       f32x4 [ceil(T * K / 4)]   read
//   bias    f32 [rows of W]           read        used with BIAS
//   y       f32 [T, y_stride]         read_write
//   step    Step                      read
//   params  Params                    uniform
//   grid    (ceil(T / 4), ceil(N / (LANES * ROWS)), 1)

//#include step

@group(0) @binding(0) var<storage, read> quants: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> scales: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read> step: Step;
@group(0) @binding(6) var<uniform> params: Params;

override LANES: u32 = 4;
override ROWS: u32 = 8; // at most 16

//#include weight
//#include token_input
//#include tile_sums

fn weight_times(block: u32, x: ptr<function, array<mat4x4<f32>, 8>>) -> vec4<f32> {
  let w = weight_block(fetch(block));
  return w[0] * (*x)[0] + w[1] * (*x)[1] + w[2] * (*x)[2] + w[3] * (*x)[3]
    + w[4] * (*x)[4] + w[5] * (*x)[5] + w[6] * (*x)[6] + w[7] * (*x)[7];
}

@compute @workgroup_size(LANES)
fn matmul_serial(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let token = group.x * 4;
  let row = group.y * LANES * ROWS + lane;
  var starts: array<u32, 16>;
  var sums: array<vec4<f32>, 16>;
  for (var i = 0u; i < ROWS; i++) {
    starts[i] = min(row + i * LANES, params.rows - 1) * params.blocks;
  }
  for (var block = 0u; block < params.blocks; block++) {
    let col = block * 32;
    var xs = array<mat4x4<f32>, 8>(
      four_tokens(token, col), four_tokens(token, col + 4),
      four_tokens(token, col + 8), four_tokens(token, col + 12),
      four_tokens(token, col + 16), four_tokens(token, col + 20),
      four_tokens(token, col + 24), four_tokens(token, col + 28),
    );
    for (var i = 0u; i < ROWS; i++) {
      sums[i] += weight_times(starts[i] + block, &xs);
    }
  }
  for (var i = 0u; i < ROWS; i++) {
    store(row + i * LANES, token, sums[i]);
  }
}
