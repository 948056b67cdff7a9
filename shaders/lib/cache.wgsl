// Where positions lie in the key-value cache, and what a query sees of them. With RING, position p lies in slot p % C,
// and a query sees fewer than C positions; without, in slot p, and positions end at C.

override RING: bool = false;

const MASKED = -1e30; // stands for -inf, which shaders may take for any value

fn halves(packed: vec2<u32>) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
}

// softcap * tanh(s / softcap); tanh of a large number is NaN in some drivers, and 1 in f32 from 9 on.
fn capped(s: vec4<f32>, softcap: f32) -> vec4<f32> {
  if (softcap > 0) {
    return softcap * tanh(clamp(s / softcap, vec4(-10.0), vec4(10.0)));
  }
  return s;
}

// The first position that a query at `position` sees.
fn first_seen(position: u32, window: u32) -> u32 {
  return select(0u, position + 1 - window, window > 0 && position + 1 > window);
}

// One past the last position, `end`, unless the cache ends before.
fn within(end: u32, context: u32) -> u32 {
  return select(min(end, context), end, RING);
}

// Whether the cache has a place for a position.
fn has_place(position: u32, context: u32) -> bool {
  return within(position + 1, context) == position + 1;
}

// Positions less slots for those whose first is `first`; the ring begins anew at most once among them.
fn ring_start(first: u32, context: u32) -> u32 {
  if (RING) {
    return first - first % context;
  }
  return 0;
}

fn slot(position: u32, start: u32, context: u32) -> u32 {
  if (RING) {
    let at = position - start;
    return select(at, at - context, at >= context);
  }
  return position;
}

fn slots(positions: vec4<u32>, start: u32, context: u32) -> vec4<u32> {
  if (RING) {
    let at = positions - start;
    return select(at, at - context, at >= vec4(context));
  }
  return positions;
}
