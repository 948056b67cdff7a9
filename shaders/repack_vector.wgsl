// repack_vector: y[first + i] = factor * v[i] + addend, for a vector v of a file's f32 (TYPE 0), f16 (1) or bf16 (2)
//
//   raw     u32      read        bytes of the file
//   y       f32      read_write
//   params  Params   uniform
//   grid    (ceil(count / 64))   one invocation per element

struct Params {
  byte_offset: u32, // of v in raw
  count: u32,
  first: u32,
  factor: f32,
  addend: f32,
}

@group(0) @binding(0) var<storage, read> raw: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

override TYPE: u32;

//#include raw_bytes

fn value(i: u32) -> f32 {
  if (TYPE == 0) {
    return bitcast<f32>(raw_u32(params.byte_offset + 4 * i));
  }
  let half = raw_u16(params.byte_offset + 2 * i);
  if (TYPE == 1) {
    return unpack2x16float(half).x;
  }
  return bitcast<f32>(half << 16);
}

@compute @workgroup_size(64)
fn repack_vector(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x < params.count) {
    y[params.first + id.x] = params.factor * value(id.x) + params.addend;
  }
}
