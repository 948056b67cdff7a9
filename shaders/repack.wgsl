// repack: blocks of a file → quants and scales of a weight (docs/architecture.md); every weight keeps its value
//
//   raw     u32                        read        bytes of the file
//   quants  u32x4 [N, blocks, …]       read_write
//   scales  atomic u32 [N, blocks, …]  read_write  untouched by formats without scales
//   params  Params                     uniform
//   grid    spread(ceil(count / LANES))  one invocation per unit: a block, or the eight of 256 weights

struct Params {
  byte_offset: u32, // of the first one in raw
  count: u32,       // units to repack
  first: u32,       // where the first one goes
  cols: u32,        // K
  blocks: u32,      // in a row
  file_rows: u32,   // rows of the matrix in the file, and which of them are meant, where it lies transposed
  column: u32,
  rows: u32,
}

@group(0) @binding(0) var<storage, read> raw: array<u32>;
@group(0) @binding(1) var<storage, read_write> quants: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> scales: array<atomic<u32>>;
@group(0) @binding(3) var<uniform> params: Params;

override LANES: u32 = 64;

//#include raw

@compute @workgroup_size(LANES)
fn repack(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let index = (group.x + group.y * groups.x) * LANES + local;
  if (index < params.count) {
    repack_block(index, params.first + index);
  }
}
