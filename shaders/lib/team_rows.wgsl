// Dot products of up to four rows of W with one input by a team of LANES lanes, TEAMS teams in a workgroup.
//
// In each step a lane takes one block of each of its rows. The input of a step is shared through workgroup memory,
// times the norm's weight if there is one and stored by quarter lines, so that neighbouring lanes read neighbouring
// vectors. The norm's factor 1 / sqrt(mean(x^2) + eps) is left to the end. Uses quants, scales, x, norm, params.

//#include weight
//#include input

alias Given = vec4<f32>;

override NORM: bool = false;
override LANES: u32 = 32; // a multiple of 4
override TEAMS: u32 = 2;
override ROWS: u32 = 2;   // 1 to 4

override SIZE: u32 = LANES * TEAMS;

//#include team_sums

var<workgroup> x_tile: array<vec4<f32>, 8 * STRIDE>; // [quarter line, block]

fn stage(first: u32, local: u32) -> f32 {
  var sum = 0.0;
  for (var i = local; i < LANES * 8; i += SIZE) {
    let at = first * 8 + i;
    let col = vec4<u32>(at * 4) + vec4<u32>(0, 1, 2, 3);
    var values = select(vec4<f32>(), input(0, at), col < vec4<u32>(params.cols));
    if (NORM) {
      sum += dot(values, values);
      values *= norm[at];
    }
    x_tile[i % 8 * STRIDE + i / 8] = values;
  }
  return sum;
}

// Row i of a team starts at block starts[i]; its sum is total(0, i * TEAMS + team) afterwards. token is 0, count 1.
fn sum_rows(starts: vec4<u32>, token: u32, count: u32, local: u32) {
  let lane = local % LANES;
  var sums = vec4<f32>();
  var own_squares = 0.0;
  for (var first = 0u; first < params.blocks; first += LANES) {
    let block = min(first + lane, params.blocks - 1); // lanes past the end multiply by zeros
    let p0 = fetch(starts.x + block);
    var p1: Packed;
    var p2: Packed;
    var p3: Packed;
    if (ROWS > 1) {
      p1 = fetch(starts.y + block);
    }
    if (ROWS > 2) {
      p2 = fetch(starts.z + block);
    }
    if (ROWS > 3) {
      p3 = fetch(starts.w + block);
    }
    if (first > 0) {
      workgroupBarrier();
    } else {
      begin_input(token, count, local);
    }
    own_squares += stage(first, local);
    workgroupBarrier();
    var v = array<vec4<f32>, 8>(
      x_tile[lane], x_tile[lane + STRIDE], x_tile[lane + 2 * STRIDE], x_tile[lane + 3 * STRIDE],
      x_tile[lane + 4 * STRIDE], x_tile[lane + 5 * STRIDE], x_tile[lane + 6 * STRIDE], x_tile[lane + 7 * STRIDE],
    );
    let sum = v[0] + v[1] + v[2] + v[3] + v[4] + v[5] + v[6] + v[7];
    sums.x += weight_dot(p0, &v, sum);
    if (ROWS > 1) {
      sums.y += weight_dot(p1, &v, sum);
    }
    if (ROWS > 2) {
      sums.z += weight_dot(p2, &v, sum);
    }
    if (ROWS > 3) {
      sums.w += weight_dot(p3, &v, sum);
    }
  }
  put(0, sums, own_squares, local);
  workgroupBarrier();
}
