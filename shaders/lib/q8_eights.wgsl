// As f16_eights, kept as in q8_cache. A lane may `keep` once before each `settle`, and the columns of a row lie with
// lanes that follow each other. Also uses params, WIDTH and the workgroup's `weights`.

//#include q8_cache

alias Eight = vec2<u32>;

const NOWHERE = 0xffffffffu;

var<workgroup> made: array<Eight, 2 * TOKENS * COLUMNS>; // [keys or values, token, column] of this step
var<workgroup> made_peaks: array<u32, 2 * TOKENS * PAIRS>;
var<private> kept: mat2x4<f32>;
var<private> kept_at: u32 = NOWHERE;

fn peaks_at(row: u32, column: u32) -> vec2<u32> {
  return k_cache[params.kv_heads * params.context * COLUMNS + row * PAIRS + column / 8];
}

struct Held { // as it is loaded
  bytes: Eight,
  step: f32,
}

fn key_at(row: u32, column: u32) -> Held {
  return Held(k_cache[row * COLUMNS + column], step_of(peaks_at(row, column).x, column / 4));
}

fn value_at(row: u32, column: u32) -> Held {
  return Held(v_cache[row * COLUMNS + column], step_of(peaks_at(row, column).y, column / 4));
}

// Row `at` of made: keys, then values.
fn made_row(at: u32, column: u32) -> Held {
  return Held(made[at * COLUMNS + column], step_of(made_peaks[at * PAIRS + column / 8], column / 4));
}

fn made_key(token: u32, column: u32) -> Held {
  return made_row(token, column);
}

fn made_value(token: u32, column: u32) -> Held {
  return made_row(TOKENS + token, column);
}

fn either(a: Held, b: Held, second: bool) -> Held {
  return Held(select(a.bytes, b.bytes, second), select(a.step, b.step, second));
}

fn key_of(j: u32, column: u32, held: Held) -> Held {
  return either(held, made_key(newest(j), column), is_new(j));
}

fn value_of(j: u32, column: u32, held: Held) -> Held {
  return either(held, made_value(newest(j), column), is_new(j));
}

fn opened(held: Held) -> mat2x4<f32> {
  return held.step * mat2x4(signed(held.bytes.x), signed(held.bytes.y));
}

fn keep(at: u32, a: vec4<f32>, b: vec4<f32>) {
  kept = mat2x4(a, b);
  kept_at = at;
}

// The largest of four columns' numbers, those of the row that begin with the one `ahead` of this lane's.
fn peak_of(column: u32, lane: u32, ahead: u32) -> f32 {
  var peak = 0.0;
  for (var i = 0u; i < 4 && column + i < COLUMNS; i++) {
    peak = max(peak, weights[lane + ahead + i]);
  }
  return peak;
}

fn settle(lane: u32) {
  weights[lane] = max(largest(kept[0]), largest(kept[1]));
  workgroupBarrier();
  if (kept_at != NOWHERE) {
    let column = kept_at % COLUMNS;
    let first = column % 4;
    let peak = peak_of(column - first, lane - first, 0);
    made[kept_at] = Eight(bytes_of(kept[0], peak), bytes_of(kept[1], peak));
    if (column % 8 == 0) {
      made_peaks[kept_at / COLUMNS * PAIRS + column / 8] = packed_peaks(peak, peak_of(column + 4, lane, 4));
    }
  }
  kept_at = NOWHERE;
  workgroupBarrier();
}

fn store(row: u32, token: u32, lane: u32) {
  if (lane < COLUMNS) {
    k_cache[row * COLUMNS + lane] = made[token * COLUMNS + lane];
    v_cache[row * COLUMNS + lane] = made[(TOKENS + token) * COLUMNS + lane];
  }
  if (lane < PAIRS) {
    let both = vec2(made_peaks[token * PAIRS + lane], made_peaks[(TOKENS + token) * PAIRS + lane]);
    k_cache[params.kv_heads * params.context * COLUMNS + row * PAIRS + lane] = both;
  }
}
