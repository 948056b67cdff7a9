// Dot products of up to four rows of W with up to four tokens by a team of LANES lanes, TEAMS teams in a workgroup.
//
// As team_rows, whose sums it makes in the same order, so that a token gets the same numbers from either. A block of
// weights is fetched once for all TOKENS tokens of the workgroup. Uses quants, scales, x, norm, params.

//#include four_rows
//#include input

alias Given = vec4<f32>;

override NORM: bool = false;
override LANES: u32 = 32; // a multiple of 4
override TEAMS: u32 = 2;
override ROWS: u32 = 2;   // 1 to 4
override TOKENS: u32 = 1; // 1 to 4; TEAMS * ROWS * TOKENS at most LANES * TEAMS

override SIZE: u32 = LANES * TEAMS;
override STRIDE: u32 = LANES + 1; // one more, against bank conflicts
override TILE: u32 = max(8, TEAMS) * STRIDE;

// [token, quarter line, block]; in the end sums [token, team, lane]
var<workgroup> tiles: array<vec4<f32>, TOKENS * TILE>;
var<workgroup> squares: array<f32, TOKENS * SIZE>;

// One token's part of the input into its tile.
fn stage(token: u32, tile: u32, first: u32, local: u32) -> f32 {
  var sum = 0.0;
  for (var i = local; i < LANES * 8; i += SIZE) {
    let at = first * 8 + i;
    let col = vec4<u32>(at * 4) + vec4<u32>(0, 1, 2, 3);
    var values = vec4<f32>();
    if (col.x < params.cols) { // what follows is the next token's
      values = select(vec4<f32>(), input(token, at), col < vec4<u32>(params.cols));
    }
    if (NORM) {
      sum += dot(values, values);
      values *= norm[at];
    }
    tiles[tile + i % 8 * STRIDE + i / 8] = values;
  }
  return sum;
}

fn products(tile: u32, rows: Four) -> vec4<f32> {
  var v = array<vec4<f32>, 8>(
    tiles[tile], tiles[tile + STRIDE], tiles[tile + 2 * STRIDE], tiles[tile + 3 * STRIDE],
    tiles[tile + 4 * STRIDE], tiles[tile + 5 * STRIDE], tiles[tile + 6 * STRIDE], tiles[tile + 7 * STRIDE],
  );
  let sum = v[0] + v[1] + v[2] + v[3] + v[4] + v[5] + v[6] + v[7];
  var result = vec4<f32>(weight_dot(rows.p0, &v, sum), 0, 0, 0);
  if (ROWS > 1) {
    result.y = weight_dot(rows.p1, &v, sum);
  }
  if (ROWS > 2) {
    result.z = weight_dot(rows.p2, &v, sum);
  }
  if (ROWS > 3) {
    result.w = weight_dot(rows.p3, &v, sum);
  }
  return result;
}

// Row i of a team starts at block starts[i]; for token + t its sum is total(t, i * TEAMS + team) afterwards.
fn sum_rows(starts: vec4<u32>, token: u32, count: u32, local: u32) {
  let lane = local % LANES;
  var a = vec4<f32>(); // one vector a token, written out so that what is decoded of a weight can serve all
  var b = vec4<f32>();
  var c = vec4<f32>();
  var d = vec4<f32>();
  var own = vec4<f32>();
  for (var first = 0u; first < params.blocks; first += LANES) {
    let rows = fetch_rows(starts, min(first + lane, params.blocks - 1)); // lanes past the end multiply by zeros
    if (first > 0) {
      workgroupBarrier();
    } else {
      begin_input(token, count, local);
    }
    own.x += stage(token, 0, first, local);
    if (TOKENS > 1 && count > 1) {
      own.y += stage(token + 1, TILE, first, local);
    }
    if (TOKENS > 2 && count > 2) {
      own.z += stage(token + 2, 2 * TILE, first, local);
    }
    if (TOKENS > 3 && count > 3) {
      own.w += stage(token + 3, 3 * TILE, first, local);
    }
    workgroupBarrier();
    a += products(lane, rows);
    if (TOKENS > 1 && count > 1) {
      b += products(TILE + lane, rows);
    }
    if (TOKENS > 2 && count > 2) {
      c += products(2 * TILE + lane, rows);
    }
    if (TOKENS > 3 && count > 3) {
      d += products(3 * TILE + lane, rows);
    }
  }
  workgroupBarrier();
  let sums = array<vec4<f32>, 4>(a, b, c, d);
  for (var t = 0u; t < TOKENS; t++) {
    squares[t * SIZE + local] = own[t];
    tiles[t * TILE + local / LANES * STRIDE + lane] = sums[t];
  }
  workgroupBarrier();
}

fn total(t: u32, row: u32) -> f32 {
  let start = t * TILE + row % TEAMS * STRIDE;
  let r = row / TEAMS;
  var four = vec4<f32>();
  for (var i = 0u; i < LANES; i += 4) { // as often as is known beforehand, as in team_rows
    let at = start + i;
    four += vec4<f32>(tiles[at][r], tiles[at + 1][r], tiles[at + 2][r], tiles[at + 3][r]);
  }
  return dot(four, vec4<f32>(1));
}

fn norm_factor(t: u32) -> f32 {
  if (!NORM) {
    return 1;
  }
  var four = vec4<f32>();
  for (var i = 0u; i < SIZE; i += 4) {
    let at = t * SIZE + i;
    four += vec4<f32>(squares[at], squares[at + 1], squares[at + 2], squares[at + 3]);
  }
  return inverseSqrt(dot(four, vec4<f32>(1)) / f32(params.cols) + params.eps);
}
