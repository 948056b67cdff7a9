// WIDTH rows of W times the normed x, a head of q, k or v, by a workgroup: raw(row), which is what matvec computes of
// it by LANES = BLOCKS and TEAMS = 8, bit by bit. Uses quants, scales, x, norm, bias, params, WIDTH, LANES, BIAS, and
// `pool` for WIDTH * STRIDE numbers.

//#include weight

override BLOCKS: u32; // lanes of a row: its blocks, rounded up to a multiple of four
override TEAMS: u32 = LANES / BLOCKS;
override STRIDE: u32 = BLOCKS + 1; // one more, against bank conflicts
override ROWS: u32 = min(8, (WIDTH + TEAMS - 1) / TEAMS); // of a team at once

var<workgroup> x_tile: array<vec4<f32>, 8 * STRIDE>; // [quarter line, block]
var<workgroup> squares: array<f32, 8 * BLOCKS>;
var<workgroup> own: array<f32, WIDTH>; // this head's q, k or v, not yet times the norm's factor
var<workgroup> factor: f32;
var<workgroup> added: array<f32, WIDTH>;

fn raw(at: u32) -> f32 {
  return added[at] + own[at] * factor;
}

// Row `first + n * TEAMS` of a head whose first row is `head_row`.
fn fetch_rows(head_row: u32, first: u32, block: u32) -> array<Packed, 8> {
  var rows: array<Packed, 8>;
  for (var n = 0u; n < ROWS; n++) {
    rows[n] = fetch((head_row + min(first + n * TEAMS, WIDTH - 1)) * params.blocks + block);
  }
  return rows;
}

fn stage(lane: u32) {
  for (var i = lane; i < 8 * BLOCKS; i += LANES) {
    let values = select(vec4<f32>(), x[i], 4 * i < params.cols);
    squares[i] = dot(values, values);
    x_tile[i % 8 * STRIDE + i / 8] = values * norm[i];
  }
}

fn norm_factor() -> f32 {
  var four = vec4<f32>();
  for (var i = 0u; i < 8 * BLOCKS; i += 4) {
    four += vec4<f32>(squares[i], squares[i + 1], squares[i + 2], squares[i + 3]);
  }
  return inverseSqrt(dot(four, vec4<f32>(1)) / f32(params.cols) + params.eps);
}

// The rows of the head whose first row is `head_row` → own. `ready`: those from the first on, fetched early.
fn project(head_row: u32, ready: array<Packed, 8>, lane: u32) {
  var extra = 0.0;
  if (BIAS && lane < WIDTH) { // early, as all loads
    extra = bias[head_row + lane];
  }
  let column = lane % BLOCKS;
  let team = lane / BLOCKS;
  let block = min(column, params.blocks - 1); // lanes past the end multiply by zeros
  var v = array<vec4<f32>, 8>(
    x_tile[column], x_tile[column + STRIDE], x_tile[column + 2 * STRIDE], x_tile[column + 3 * STRIDE],
    x_tile[column + 4 * STRIDE], x_tile[column + 5 * STRIDE], x_tile[column + 6 * STRIDE], x_tile[column + 7 * STRIDE],
  );
  let sum = v[0] + v[1] + v[2] + v[3] + v[4] + v[5] + v[6] + v[7];
  var rows = ready;
  for (var first = 0u; first < WIDTH; first += ROWS * TEAMS) {
    if (first > 0) {
      rows = fetch_rows(head_row, first + team, block);
    }
    for (var n = 0u; n < ROWS; n++) {
      let row = first + team + n * TEAMS;
      let product = weight_dot(rows[n], &v, sum);
      if (team < TEAMS && row < WIDTH) {
        pool[row * STRIDE + column] = product;
      }
    }
  }
  workgroupBarrier();
  if (lane < WIDTH) {
    var four = vec4<f32>();
    for (var i = 0u; i < BLOCKS; i += 4) {
      let place = lane * STRIDE + i;
      four += vec4<f32>(pool[place], pool[place + 1], pool[place + 2], pool[place + 3]);
    }
    own[lane] = dot(four, vec4<f32>(1));
    added[lane] = extra;
  } else if (lane == WIDTH) { // another warp's, beside the sums
    factor = norm_factor();
  }
  workgroupBarrier();
}
