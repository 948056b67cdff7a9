// Dot products of up to four rows of W with the inputs of up to TOKENS tokens, rounded to bytes, by a team of LANES
// lanes, TEAMS teams in a workgroup.
//
// As team_rows, but in each step a lane takes two blocks of each of its rows, and the input of a step, times the norm's
// weight if there is one, becomes whole numbers. 32 divides K. Uses quants, scales, x, norm, params.

//#include four_rows
//#include input
//#include rounding

alias Given = vec4<f32>;

override NORM: bool = false;
override LANES: u32 = 32; // a multiple of 4
override TEAMS: u32 = 8;  // divides 16
override ROWS: u32 = 2;   // 1 to 4

override SIZE: u32 = LANES * TEAMS;
override SPAN: u32 = 2 * LANES; // blocks in a step
override WORDS: u32 = 16 / TEAMS; // of four values, which a lane rounds in a step
override PAD: u32 = SPAN + 4;     // four more, against bank conflicts

//#include team_sums

var<workgroup> x_words: array<u32, TOKENS * 8 * PAD>; // [token, word of four bytes, block]
var<workgroup> x_scales: array<f32, TOKENS * SPAN>;
var<workgroup> tops: array<f32, 8 * SPAN>; // the largest of each four

fn four_tops(i: u32) -> vec4<f32> {
  return vec4<f32>(tops[i], tops[i + 1], tops[i + 2], tops[i + 3]);
}

// One token's blocks from `first` on into place t. Begins where `tops` may be written, ends with a barrier.
fn stage(token: u32, t: u32, first: u32, local: u32) -> f32 {
  var sum = 0.0;
  var kept: array<vec4<f32>, 16>;
  for (var k = 0u; k < WORDS; k++) {
    let i = local + k * SIZE;
    let at = first * 8 + i;
    let inside = at < params.cols / 4;
    var values = vec4<f32>();
    if (TOKENS == 1 || inside) { // what follows is the next token's
      values = select(vec4<f32>(), input(token, at), inside);
    }
    if (NORM) {
      sum += dot(values, values);
      values *= norm[at];
    }
    kept[k] = values;
    tops[i] = largest(values);
  }
  workgroupBarrier();
  for (var k = 0u; k < WORDS; k++) {
    let i = local + k * SIZE;
    let top = max(largest(four_tops(i / 8 * 8)), largest(four_tops(i / 8 * 8 + 4)));
    x_words[(t * 8 + i % 8) * PAD + i / 8] = rounded(kept[k], top);
    if (i % 8 == 0) {
      x_scales[t * SPAN + i / 8] = top / 127;
    }
  }
  workgroupBarrier();
  return sum;
}

// Of place t with the block `at` of the step.
fn products(t: u32, at: u32, rows: Four) -> vec4<f32> {
  let w = t * 8 * PAD + at;
  let low = vec4<u32>(x_words[w], x_words[w + PAD], x_words[w + 2 * PAD], x_words[w + 3 * PAD]);
  let high = vec4<u32>(x_words[w + 4 * PAD], x_words[w + 5 * PAD], x_words[w + 6 * PAD], x_words[w + 7 * PAD]);
  let sums = byte_sums(low, high);
  var result = vec4<f32>(bytes_times(weight_bytes(rows.p0), low, high, sums), 0, 0, 0);
  if (ROWS > 1) {
    result.y = bytes_times(weight_bytes(rows.p1), low, high, sums);
  }
  if (ROWS > 2) {
    result.z = bytes_times(weight_bytes(rows.p2), low, high, sums);
  }
  if (ROWS > 3) {
    result.w = bytes_times(weight_bytes(rows.p3), low, high, sums);
  }
  return x_scales[t * SPAN + at] * result;
}

// Row i of a team starts at block starts[i]; for token + t its sum is total(t, i * TEAMS + team) afterwards.
fn sum_rows(starts: vec4<u32>, token: u32, count: u32, local: u32) {
  let lane = local % LANES;
  var a = vec4<f32>(); // one vector a token, written out: arrays would leave the registers
  var b = vec4<f32>();
  var c = vec4<f32>();
  var d = vec4<f32>();
  var own = vec4<f32>();
  for (var first = 0u; first < params.blocks; first += SPAN) {
    // Early, so that these loads wait together with the input's; what is past the end is multiplied by zeros.
    let near = fetch_rows(starts, min(first + lane, params.blocks - 1));
    let far = fetch_rows(starts, min(first + LANES + lane, params.blocks - 1));
    if (first > 0) {
      workgroupBarrier();
    } else {
      begin_input(token, count, local);
    }
    own.x += stage(token, 0, first, local);
    if (TOKENS > 1 && count > 1) {
      own.y += stage(token + 1, 1, first, local);
    }
    if (TOKENS > 2 && count > 2) {
      own.z += stage(token + 2, 2, first, local);
    }
    if (TOKENS > 3 && count > 3) {
      own.w += stage(token + 3, 3, first, local);
    }
    a += products(0, lane, near) + products(0, LANES + lane, far);
    if (TOKENS > 1 && count > 1) {
      b += products(1, lane, near) + products(1, LANES + lane, far);
    }
    if (TOKENS > 2 && count > 2) {
      c += products(2, lane, near) + products(2, LANES + lane, far);
    }
    if (TOKENS > 3 && count > 3) {
      d += products(3, lane, near) + products(3, LANES + lane, far);
    }
  }
  put(0, a, own.x, local);
  if (TOKENS > 1) {
    put(1, b, own.y, local);
  }
  if (TOKENS > 2) {
    put(2, c, own.z, local);
  }
  if (TOKENS > 3) {
    put(3, d, own.w, local);
  }
  workgroupBarrier();
}
