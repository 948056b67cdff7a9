// Matrices that lie transposed in the file: group 0 (32 inputs) of all rows, then group 1 of all rows, and so on.

//#include raw_bytes

struct Place {
  group: u32, // from the first one in raw on
  column: u32, // of the file: our row
  block: u32, // where it goes
}

fn place_of(index: u32) -> Place {
  let group = index / params.rows;
  let row = index % params.rows; // neighbouring lanes read neighbouring columns
  return Place(group, params.column + row, params.first + row * params.blocks + group);
}
