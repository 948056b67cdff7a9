// One query's attention over a part of the positions, by a workgroup: online softmax in chunks of CHUNK positions.
//
// Lanes divide into E/8 columns and SLICES slices: neighbours load neighbouring bytes of a row. A lane loads its column
// of HELD rows of keys and of values at once, without conditions: what takes time is their latency.
//
// Uses k_cache, v_cache, params, WIDTH, LANES, TOKENS, the constants PAST (a query does not see its own position) and
// OWN_POOL (numbers of `pool` that the kernel itself needs), and the kernel's is_new(j), for positions whose keys and
// values are not in the cache yet, newest(j), which of the step's tokens such a one is, and leave(e, total, sum,
// highest) for each element e of the result.

//#include order
//#include cache
//#include f16_eights

override COLUMNS: u32 = WIDTH / 8;
override SLICES: u32 = LANES / COLUMNS;
override HELD: u32 = min(8, max(1, 256 / SLICES));
override CHUNK: u32 = HELD * SLICES;
override POOL: u32 = max(max(2 * LANES, OWN_POOL), max(CHUNK * (COLUMNS + 1), 8 * COLUMNS * (SLICES + 1)));

// [row, column] of a chunk's products; in the end sums, [element of eight, slice, column]
var<workgroup> pool: array<f32, POOL>;
var<workgroup> weights: array<f32, max(LANES, CHUNK)>; // scores
var<workgroup> partial_sum: array<f32, SLICES>;
var<workgroup> top: atomic<u32>;
var<workgroup> query: array<vec4<f32>, 2 * COLUMNS>;

struct Span {
  row: u32,  // of position 0 in the caches
  ring: u32, // as of ring_start
  start: u32,
  end: u32,
}

struct Chunk {
  keys: array<Held, 8>,
  values: array<Held, 8>,
}

// The `part`th of `parts` of what a query at `position` sees.
fn span_of(position: u32, kv_head: u32, part: u32, parts: u32) -> Span {
  let end = within(position + select(1u, 0u, PAST), params.context);
  let first = first_seen(position, params.window);
  let share = (end - min(first, end) + parts - 1) / parts;
  let start = first + part * share;
  return Span(kv_head * params.context, ring_start(first, params.context), start, min(start + share, end));
}

fn row_of(span: Span, j: u32) -> u32 {
  return span.row + slot(j, span.ring, params.context);
}

// A lane's position number n in the chunk from `base` on, or the part's last.
fn position_of(span: Span, base: u32, n: u32, lane: u32) -> u32 {
  return min(base + lane / COLUMNS + n * SLICES, max(span.end, 1) - 1);
}

// A lane's keys and values of the chunk from position `base` on. The step's own are not among them.
fn load(span: Span, base: u32, lane: u32) -> Chunk {
  var chunk: Chunk;
  for (var n = 0u; n < HELD; n++) {
    let row = row_of(span, position_of(span, base, n, lane));
    chunk.keys[n] = key_at(row, lane % COLUMNS);
    chunk.values[n] = value_at(row, lane % COLUMNS);
  }
  return chunk;
}

// first: what `load` has loaded for span.start, early.
fn attend(span: Span, first: Chunk, lane: u32) {
  let column = lane % COLUMNS;
  let slice = lane / COLUMNS;
  let works = slice < SLICES;
  let q = mat2x4(query[2 * column], query[2 * column + 1]);
  var total = mat2x4<f32>();
  var sum = 0.0;
  var highest = MASKED;
  var chunk = first;
  for (var base = span.start; base < span.end; base += CHUNK) {
    for (var n = 0u; n < HELD; n++) {
      let j = position_of(span, base, n, lane);
      let key = opened(key_of(j, column, chunk.keys[n]));
      if (works) {
        pool[(slice + n * SLICES) * (COLUMNS + 1) + column] = dot(q[0], key[0]) + dot(q[1], key[1]);
      }
    }
    workgroupBarrier();
    for (var r = lane; r < CHUNK; r += LANES) {
      var score = 0.0;
      for (var c = 0u; c < COLUMNS; c++) {
        score += pool[r * (COLUMNS + 1) + c];
      }
      score = select(MASKED, capped(vec4(score), params.softcap).x, base + r < span.end);
      weights[r] = score;
      atomicMax(&top, order(score));
    }
    workgroupBarrier();
    let now = float_of(atomicLoad(&top));
    let fade = exp(highest - now);
    highest = now;
    sum *= fade;
    total = total * fade;
    if (works) {
      for (var n = 0u; n < HELD; n++) {
        let score = weights[slice + n * SLICES];
        let w = select(exp(score - now), 0.0, score == MASKED);
        sum += w;
        total += w * opened(value_of(position_of(span, base, n, lane), column, chunk.values[n]));
      }
    }
    if (base + CHUNK < span.end) {
      chunk = load(span, base + CHUNK, lane);
    }
  }
  if (works) {
    for (var m = 0u; m < 8; m++) {
      pool[(m * (SLICES + 1) + slice) * COLUMNS + column] = total[m / 4][m % 4];
    }
    if (column == 0) {
      partial_sum[slice] = sum;
    }
  }
  workgroupBarrier();
  if (lane < WIDTH) {
    var one = 0.0;
    var all = 0.0;
    for (var s = 0u; s < SLICES; s++) {
      one += pool[(slice * (SLICES + 1) + s) * COLUMNS + column];
      all += partial_sum[s];
    }
    leave(column * 8 + slice, one, all, highest);
  }
}
