// Four elements of a head of the newest token: rotated, of the kernel's element(start, e), or plain, of its
// raw(start + e), which is the same before any norm. Uses step.

//#include rope

fn turned(start: u32, e: u32) -> vec4<f32> {
  let p = step.position;
  return vec4(rotated(start, e, p), rotated(start, e + 1, p), rotated(start, e + 2, p), rotated(start, e + 3, p));
}

fn plain(at: u32) -> vec4<f32> {
  return vec4(raw(at), raw(at + 1), raw(at + 2), raw(at + 3));
}
