// One query's attention over positions start to end - 1, by a workgroup: online softmax in chunks of LANES positions.
// Each lane scores one, then the lanes divide into E/8 columns and SLICES slices.
//
// Loads depend on no condition, so that many are on their way at once: what takes time is their latency. Uses k_cache,
// v_cache, params, WIDTH, LANES, TOKENS, the workgroup's `query`, and the kernel's functions is_new(j), for positions
// whose keys and values are not taken from the cache, and newest(j), which of the step's tokens such a one is.

//#include order
//#include cache
//#include f16_eights

override COLUMNS: u32 = WIDTH / 8;
override SLICES: u32 = LANES / COLUMNS;

var<workgroup> pool: array<vec4<f32>, 2 * LANES>; // partial sums
var<workgroup> partial_sum: array<f32, LANES>;
var<workgroup> weights: array<f32, LANES>;
var<workgroup> top: atomic<u32>;

struct Span {
  row: u32,  // of position 0 in the caches
  ring: u32, // as of ring_start
  start: u32,
  end: u32,
}

struct Attended {
  total: mat2x4<f32>, // of eight elements, weighted and not divided; in lanes below COLUMNS
  sum: f32,           // of weights
  highest: f32,       // score
}

// The S-th part of what a query at `position` sees.
fn span_of(position: u32, kv_head: u32, part: u32, parts: u32) -> Span {
  let last = within(position + 1, params.context) - 1;
  let first = first_seen(position, params.window);
  let share = (last - first) / parts + 1;
  let start = first + part * share;
  let row = kv_head * params.context;
  return Span(row, ring_start(first, params.context), start, min(start + share, last + 1));
}

fn row_of(span: Span, j: u32) -> u32 {
  return span.row + slot(min(j, span.end - 1), span.ring, params.context);
}

fn score(span: Span, j: u32) -> f32 {
  let row = row_of(span, j);
  let fresh = is_new(j);
  var sum = 0.0;
  for (var e = 0u; e < COLUMNS; e++) {
    sum += key_dot(row, j, e, fresh);
  }
  return sum;
}

fn value(w: f32, span: Span, j: u32, column: u32) -> mat2x4<f32> {
  return weighed(w, row_of(span, j), j, column);
}

fn attend(span: Span, lane: u32) -> Attended {
  let column = lane % COLUMNS;
  let slice = lane / COLUMNS;
  var highest = MASKED;
  var sum = 0.0;
  var total = mat2x4<f32>();
  for (var base = span.start; base < span.end; base += LANES) {
    var one = MASKED;
    if (base + lane < span.end) {
      one = capped(vec4(score(span, base + lane)), params.softcap).x;
      atomicMax(&top, order(one));
    }
    workgroupBarrier();
    let now = float_of(atomicLoad(&top));
    weights[lane] = select(exp(one - now), 0.0, one == MASKED);
    let fade = exp(highest - now);
    highest = now;
    workgroupBarrier();
    sum *= fade;
    total = total * fade;
    if (slice < SLICES) {
      let count = min(LANES, span.end - base);
      for (var i = slice; i < count; i += 4 * SLICES) { // four loads on their way at once
        let four = vec4(i) + vec4(0, 1, 2, 3) * SLICES;
        let held = min(four, vec4(count - 1));
        let all = vec4(weights[held.x], weights[held.y], weights[held.z], weights[held.w]);
        let w = select(vec4<f32>(), all, four == held);
        let j = vec4(base) + held;
        sum += w.x + w.y + w.z + w.w;
        total += value(w.x, span, j.x, column) + value(w.y, span, j.y, column);
        total += value(w.z, span, j.z, column) + value(w.w, span, j.w, column);
      }
    }
  }
  pool[2 * lane] = total[0];
  pool[2 * lane + 1] = total[1];
  partial_sum[lane] = sum;
  workgroupBarrier();
  for (var left = SLICES; left > 1; left = (left + 3) / 4) { // slices whose sums are to be added
    let next = (left + 3) / 4;
    if (slice < next) {
      for (var i = 1u; i < 4; i++) {
        let other = (slice + i * next) * COLUMNS + column;
        if (slice + i * next < left) {
          total += mat2x4(pool[2 * other], pool[2 * other + 1]);
          sum += partial_sum[other];
        }
      }
      pool[2 * lane] = total[0];
      pool[2 * lane + 1] = total[1];
      partial_sum[lane] = sum;
    }
    workgroupBarrier();
  }
  return Attended(total, sum, highest);
}
