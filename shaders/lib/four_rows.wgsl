// One block of each of a team's rows, of which there are ROWS (1 to 4).

//#include weight

struct Four {
  p0: Packed,
  p1: Packed,
  p2: Packed,
  p3: Packed,
}

fn fetch_rows(starts: vec4<u32>, block: u32) -> Four {
  var rows: Four;
  rows.p0 = fetch(starts.x + block);
  if (ROWS > 1) {
    rows.p1 = fetch(starts.y + block);
  }
  if (ROWS > 2) {
    rows.p2 = fetch(starts.z + block);
  }
  if (ROWS > 3) {
    rows.p3 = fetch(starts.w + block);
  }
  return rows;
}
