// matmul_int8: Y[t, offset + n] (+)= X[t, :] . W[n, :] (+ bias[n]) for all T tokens, X as round_rows leaves it
//
// A workgroup of LANES (64 or 128) lanes computes SPAN = LANES / 8 * EACH rows of W times 64 tokens, in steps of two
// blocks of 32 columns that all lanes share through workgroup memory (9 to 18 KiB); a lane keeps EACH (4 or 8) rows
// (LANES / 8 apart) x 8 tokens (two times 4 neighbours) of sums. Products within a block are of whole numbers.
//
//   quants    u32x4 [N, blocks, …]  read        a part of W, see docs/architecture.md
//   scales    u32 [N, blocks, …]    read
//   x         u32x4 [T, blocks, 2]  read
//   x_scales  f32x4 [T, blocks]     read
//   bias      f32 [rows of W]       read        used with BIAS
//   y         f32 [T, y_stride]     read_write
//   step      Step                  read
//   params    Params                uniform
//   grid      (ceil(T / 64), ceil(N / SPAN), 1)

//#include step

@group(0) @binding(0) var<storage, read> quants: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> scales: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> x_scales: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<storage, read> step: Step;
@group(0) @binding(7) var<uniform> params: Params;

override LANES: u32 = 64;
override EACH: u32 = 8;
override STEP: u32 = LANES / 8; // between a lane's rows
override SPAN: u32 = STEP * EACH;

//#include weight
//#include tile_sums

var<workgroup> w_tile: array<vec4<u32>, 4 * SPAN>;    // [block, half, row]
var<workgroup> w_scales: array<vec4<f32>, 2 * SPAN>;  // [block, row], d and m of either half
var<workgroup> x_tile: array<vec4<u32>, 4 * 64>;      // [block, half, token]
var<workgroup> scales_x: array<vec4<f32>, 2 * 64>;    // [block, token], as in x_scales

fn stage(first_block: u32, first_row: u32, first_token: u32, lane: u32) {
  for (var i = lane; i < 2 * SPAN; i += LANES) {
    let d = i / SPAN;
    let row = i % SPAN;
    let block = first_block + d;
    var w = Bytes(); // zeros past the end
    if (block < params.blocks) {
      w = weight_bytes(fetch(min(first_row + row, params.rows - 1) * params.blocks + block));
    }
    w_tile[2 * d * SPAN + row] = w.low;
    w_tile[(2 * d + 1) * SPAN + row] = w.high;
    w_scales[i] = vec4<f32>(w.d, w.m);
  }
  for (var i = lane; i < 256; i += LANES) {
    let at = min(first_token + i / 4, step.count - 1) * params.blocks + min(first_block + i % 4 / 2, params.blocks - 1);
    x_tile[i % 4 * 64 + i / 4] = x[at * 2 + i % 2];
    if (i % 2 == 0) {
      scales_x[i % 4 / 2 * 64 + i / 4] = x_scales[at];
    }
  }
}

// One block of four neighbouring tokens.
struct Tokens {
  low: array<vec4<u32>, 4>,
  high: array<vec4<u32>, 4>,
  d: vec4<f32>,
  low_sums: vec4<f32>, // times d
  high_sums: vec4<f32>,
}

fn four_tokens_of(d: u32, token: u32) -> Tokens {
  let at = d * 128 + token;
  let by_token = mat4x4<f32>(
    scales_x[d * 64 + token], scales_x[d * 64 + token + 1], scales_x[d * 64 + token + 2], scales_x[d * 64 + token + 3]);
  let s = transpose(by_token);
  return Tokens(
    array<vec4<u32>, 4>(x_tile[at], x_tile[at + 1], x_tile[at + 2], x_tile[at + 3]),
    array<vec4<u32>, 4>(x_tile[at + 64], x_tile[at + 65], x_tile[at + 66], x_tile[at + 67]), s[0], s[1], s[2]);
}

fn four_dots(w: vec4<u32>, x: array<vec4<u32>, 4>) -> vec4<i32> {
  return vec4<i32>(dots(w, x[0]), dots(w, x[1]), dots(w, x[2]), dots(w, x[3]));
}

fn products(low: vec4<u32>, high: vec4<u32>, scale: vec4<f32>, x: Tokens) -> vec4<f32> {
  let a = four_dots(low, x.low);
  let b = four_dots(high, x.high);
  if (HALVES) {
    let sums = scale.x * vec4<f32>(a) + scale.y * vec4<f32>(b);
    return x.d * sums + scale.z * x.low_sums + scale.w * x.high_sums;
  }
  return (scale.x * x.d) * vec4<f32>(a + b) + scale.z * (x.low_sums + x.high_sums);
}

fn both(d: u32, row: u32, near: Tokens, far: Tokens, sums: mat2x4<f32>) -> mat2x4<f32> {
  let low = w_tile[2 * d * SPAN + row];
  let high = w_tile[(2 * d + 1) * SPAN + row];
  let scale = w_scales[d * SPAN + row];
  return mat2x4<f32>(sums[0] + products(low, high, scale, near), sums[1] + products(low, high, scale, far));
}

@compute @workgroup_size(LANES)
fn matmul_int8(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first_token = group.x * 64;
  let first_row = group.y * SPAN;
  if (first_token >= step.count) { // a grid for more tokens than there are
    return;
  }
  let r = lane % STEP;
  let t = lane / STEP * 4;
  var s0 = mat2x4<f32>();
  var s1 = mat2x4<f32>();
  var s2 = mat2x4<f32>();
  var s3 = mat2x4<f32>();
  var s4 = mat2x4<f32>();
  var s5 = mat2x4<f32>();
  var s6 = mat2x4<f32>();
  var s7 = mat2x4<f32>();
  for (var block = 0u; block < params.blocks; block += 2) {
    stage(block, first_row, first_token, lane);
    workgroupBarrier();
    for (var d = 0u; d < 2; d++) {
      let near = four_tokens_of(d, t);
      let far = four_tokens_of(d, 32 + t);
      s0 = both(d, r, near, far, s0);
      s1 = both(d, r + STEP, near, far, s1);
      s2 = both(d, r + 2 * STEP, near, far, s2);
      s3 = both(d, r + 3 * STEP, near, far, s3);
      if (EACH > 4) {
        s4 = both(d, r + 4 * STEP, near, far, s4);
        s5 = both(d, r + 5 * STEP, near, far, s5);
        s6 = both(d, r + 6 * STEP, near, far, s6);
        s7 = both(d, r + 7 * STEP, near, far, s7);
      }
    }
    workgroupBarrier();
  }
  let sums = array<mat2x4<f32>, 8>(s0, s1, s2, s3, s4, s5, s6, s7);
  for (var i = 0u; i < EACH; i++) {
    store(first_row + r + i * STEP, first_token + t, sums[i][0]);
    store(first_row + r + i * STEP, first_token + 32 + t, sums[i][1]);
  }
}
