// Dot products of up to four rows of W with the inputs of up to TOKENS tokens, which another product has left as bytes
// (lib/left_input.wgsl), by a team of LANES lanes, TEAMS teams in a workgroup.
//
// As byte_rows, but nothing has to be rounded, so that lanes wait for no others before the end. Uses quants, scales, x,
// params.

//#include four_rows
//#include left_input

alias Given = vec4<u32>;

override NORM: bool = false; // its weight is in the bytes
override LANES: u32 = 32; // a multiple of 4
override TEAMS: u32 = 8;
override ROWS: u32 = 2;   // 1 to 4

override SIZE: u32 = LANES * TEAMS;

//#include team_sums

struct Input {
  low: vec4<u32>,
  high: vec4<u32>,
  steps: vec4<f32>,
}

fn left_start(token: u32) -> u32 {
  return params.x_start + token * left_vectors(params.blocks);
}

fn left_block(token: u32, block: u32) -> Input {
  let start = left_start(token);
  let at = min(block, params.blocks - 1);
  let steps = bitcast<vec4<f32>>(x[start + 2 * params.blocks + at]);
  let inside = block < params.blocks; // what is past the end counts nothing
  return Input(x[start + 2 * at], x[start + 2 * at + 1], select(vec4<f32>(), steps, inside));
}

fn own_squares(token: u32, local: u32) -> f32 {
  var sum = 0.0;
  if (NORM) {
    for (var i = local; 2 * i < params.blocks; i += SIZE) {
      let four = bitcast<vec4<f32>>(x[left_start(token) + 3 * params.blocks + i]);
      sum += four.x + four.y + select(0.0, four.z + four.w, 2 * i + 1 < params.blocks);
    }
  }
  return sum;
}

fn products(input: Input, rows: Four) -> vec4<f32> {
  var result = vec4<f32>(halves_times(weight_bytes(rows.p0), input.low, input.high, input.steps), 0, 0, 0);
  if (ROWS > 1) {
    result.y = halves_times(weight_bytes(rows.p1), input.low, input.high, input.steps);
  }
  if (ROWS > 2) {
    result.z = halves_times(weight_bytes(rows.p2), input.low, input.high, input.steps);
  }
  if (ROWS > 3) {
    result.w = halves_times(weight_bytes(rows.p3), input.low, input.high, input.steps);
  }
  return result;
}

// Row i of a team starts at block starts[i]; for token + t its sum is total(t, i * TEAMS + team) afterwards.
fn sum_rows(starts: vec4<u32>, token: u32, count: u32, local: u32) {
  let lane = local % LANES;
  var a = vec4<f32>(); // one vector a token, written out: arrays would leave the registers
  var b = vec4<f32>();
  var c = vec4<f32>();
  var d = vec4<f32>();
  for (var first = 0u; first < params.blocks; first += 2 * LANES) {
    let one = first + lane;
    let two = one + LANES;
    let near = fetch_rows(starts, min(one, params.blocks - 1));
    let far = fetch_rows(starts, min(two, params.blocks - 1));
    a += products(left_block(token, one), near) + products(left_block(token, two), far);
    if (TOKENS > 1 && count > 1) {
      b += products(left_block(token + 1, one), near) + products(left_block(token + 1, two), far);
    }
    if (TOKENS > 2 && count > 2) {
      c += products(left_block(token + 2, one), near) + products(left_block(token + 2, two), far);
    }
    if (TOKENS > 3 && count > 3) {
      d += products(left_block(token + 3, one), near) + products(left_block(token + 3, two), far);
    }
  }
  put(0, a, own_squares(token, local), local);
  if (TOKENS > 1) {
    put(1, b, own_squares(token + min(1, count - 1), local), local);
  }
  if (TOKENS > 2) {
    put(2, c, own_squares(token + min(2, count - 1), local), local);
  }
  if (TOKENS > 3) {
    put(3, d, own_squares(token + min(3, count - 1), local), local);
  }
  workgroupBarrier();
}
