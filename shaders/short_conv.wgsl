// short_conv: y[t, d] = c[t, d] * sum over k of weight[d, k] * u[p - TAPS + 1 + k, d] for u = b * x
//
//   p is step.position + t; u before the first position is 0. The cache keeps u, position p in place p % C, where
//   C >= T + TAPS - 1, or p < C always.
//
//   bcx     f32 [T, 3D]     read        b, c and x side by side
//   weight  f32 [D, TAPS]   read
//   cache   f32 [C, D]      read_write
//   y       f32 [T, D]      read_write
//   step    Step            read
//   params  Params          uniform
//   grid    (ceil(D / 64), T)  one invocation per element

struct Params {
  width: u32,   // D
  context: u32, // C
}

//#include step

@group(0) @binding(0) var<storage, read> bcx: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> cache: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> step: Step;
@group(0) @binding(5) var<uniform> params: Params;

override TAPS: u32 = 3;

fn fresh(t: u32, d: u32) -> f32 {
  let at = t * 3 * params.width + d;
  return bcx[at] * bcx[at + 2 * params.width];
}

fn place(position: u32, d: u32) -> u32 {
  return position % params.context * params.width + d;
}

@compute @workgroup_size(64)
fn short_conv(@builtin(global_invocation_id) id: vec3<u32>) {
  let d = id.x;
  let t = id.y;
  if (d >= params.width || t >= step.count) {
    return;
  }
  let own = fresh(t, d);
  var sum = own * weight[d * TAPS + TAPS - 1];
  for (var back = 1u; back < TAPS; back++) {
    let gain = weight[d * TAPS + TAPS - 1 - back];
    if (back <= t) {
      sum += gain * fresh(t - back, d);
    } else if (back <= step.position + t) {
      sum += gain * cache[place(step.position + t - back, d)];
    }
  }
  cache[place(step.position + t, d)] = own;
  y[t * params.width + d] = bcx[(3 * t + 1) * params.width + d] * sum;
}
