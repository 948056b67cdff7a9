// quantize: rows of a file's f32 (TYPE 0), f16 (1) or bf16 (2) → blocks of a format that has fewer bits a weight
//
//   raw     u32                        read        bytes of the file
//   quants  u32x4 [N, blocks, …]       read_write
//   scales  atomic u32 [N, blocks, …]  read_write
//   params  Params                     uniform
//   grid    spread(ceil(count / LANES))  one invocation per block

struct Params {
  byte_offset: u32, // of the first row in raw
  count: u32,       // blocks to make
  first: u32,       // where the first one goes
  cols: u32,        // K
  blocks: u32,      // in a row
}

@group(0) @binding(0) var<storage, read> raw: array<u32>;
@group(0) @binding(1) var<storage, read_write> quants: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> scales: array<atomic<u32>>;
@group(0) @binding(3) var<uniform> params: Params;

override LANES: u32 = 64;
override TYPE: u32;

//#include raw_bytes
//#include target

fn weight(at: u32) -> f32 {
  if (TYPE == 0) {
    return bitcast<f32>(raw_u32(params.byte_offset + at * 4));
  }
  let half = raw_u16(params.byte_offset + at * 2);
  return select(bitcast<f32>(half << 16), unpack2x16float(half).x, TYPE == 1);
}

@compute @workgroup_size(LANES)
fn quantize(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let index = (group.x + group.y * groups.x) * LANES + local;
  if (index >= params.count) {
    return;
  }
  let row = index / params.blocks;
  let col = index % params.blocks * 32;
  var w: array<f32, 32>;
  for (var i = 0u; i < min(32, params.cols - col); i++) {
    w[i] = weight(row * params.cols + col + i);
  }
  put_block(params.first + index, &w);
}
