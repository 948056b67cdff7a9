// Rotary positions. Pair i of a head turns by the angle of rope[position, i]; elements from ROPE on do not turn.
// Uses rope ([P, ROPE/2] of cos, sin) and `element(start, e)`, element e of the head at `start` of qkv, of the kernel.

override ROPE: u32;
override INTERLEAVED: bool; // pair i is (2i, 2i + 1), else (i, i + ROPE/2)

const F16_MAX = vec2(65504.0);

struct Pair {
  first: u32,
  second: u32,
}

fn pair_at(index: u32) -> Pair {
  if (INTERLEAVED) {
    return Pair(2 * index, 2 * index + 1);
  }
  return Pair(index, index + ROPE / 2);
}

fn rotate(start: u32, pair: Pair, turn: vec2<f32>) -> vec2<f32> {
  let a = element(start, pair.first);
  let b = element(start, pair.second);
  return vec2(a * turn.x - b * turn.y, a * turn.y + b * turn.x);
}

// Element e of the head that begins at `start`, rotated. Loads do not depend on conditions and go at once.
fn rotated(start: u32, e: u32, position: u32) -> f32 {
  let inside = e < ROPE;
  let second = select(e >= ROPE / 2, (e & 1) == 1, INTERLEAVED);
  let index = select(0, select(select(e, e - ROPE / 2, second), e / 2, INTERLEAVED), inside);
  let pair = pair_at(index);
  let turn = rope[position * (ROPE / 2) + index];
  let own = element(start, e);
  let other = element(start, select(e, select(pair.second, pair.first, second), inside));
  return select(own, own * turn.x + select(-other, other, second) * turn.y, inside);
}

// Two elements as the cache keeps them.
fn cached(both: vec2<f32>) -> u32 {
  return pack2x16float(clamp(both, -F16_MAX, F16_MAX));
}
