// How a product leaves its results for products that take them rounded to bytes, 16 neighbours with a scale.
//
// For each token, a row of K results, in u32: K / 4 of bytes; for each 32 results the f32 scales of their halves and
// each times the sum of its half's bytes; f32 [K / 16] of sums of squares of 16, before the next norm's weight. Rows
// are padded to four u32. 32 divides K.

fn left_vectors(blocks: u32) -> u32 {
  return 3 * blocks + (blocks + 1) / 2;
}
