// The input of a matrix-vector product as qkv_attention leaves it in x, and attention_few with PAST: for each token
// what lib/parted_input.wgsl joins, of positions before its own, then [H, E] of q, [K, E] of its own k and [K, E] of v.
// Uses SIZE and TOKENS of the kernel's workgroup.

override PARTS: u32 = 1;
override VECTORS: u32 = 1; // E / 4, a multiple of 4
override SHARERS: u32 = 1; // H / K
override ALL: u32 = 1;     // H E / 4

var<workgroup> matches: array<f32, TOKENS * ALL>; // q · k by vectors

fn parts_size() -> u32 {
  return PARTS * (ALL + ALL / VECTORS);
}

fn start_of(token: u32) -> u32 {
  return token * (parts_size() + ALL + 2 * (ALL / SHARERS));
}

// Vector `at` of q is multiplied by this vector of k.
fn key_at(start: u32, at: u32) -> u32 {
  return start + parts_size() + ALL + at / VECTORS / SHARERS * VECTORS + at % VECTORS;
}

fn begin_input(token: u32, count: u32, local: u32) {
  for (var t = 0u; t < count; t++) {
    let start = start_of(token + t);
    for (var i = local; i < ALL; i += SIZE) {
      matches[t * ALL + i] = dot(x[start + parts_size() + i], x[key_at(start, i)]);
    }
  }
  workgroupBarrier();
}

fn input(token: u32, at: u32) -> vec4<f32> {
  let start = start_of(token);
  let head = at / VECTORS;
  let part = head * PARTS;
  let scores = start + ALL * PARTS + part;
  let mine = token % TOKENS * ALL + head * VECTORS;
  var four = vec4<f32>();
  for (var i = mine; i < mine + VECTORS; i += 4) {
    four += vec4<f32>(matches[i], matches[i + 1], matches[i + 2], matches[i + 3]);
  }
  let newest = dot(four, vec4<f32>(1));
  var highest = newest;
  for (var s = 0u; s < PARTS; s++) {
    highest = max(highest, x[scores + s].x);
  }
  var sum = exp(newest - highest);
  var total = sum * x[key_at(start, at) + ALL / SHARERS];
  for (var s = 0u; s < PARTS; s++) {
    let score = x[scores + s];
    let weight = exp(score.x - highest);
    sum += weight * score.y;
    total += weight * x[start + (part + s) * VECTORS + at % VECTORS];
  }
  return total / sum;
}
