// How far steps of several tokens may go and have gone. The host writes it before the first of them.

struct Drafting {
  limit: u32, // ids to choose in all: step.index ends there
  end: u32,   // positions that the cache holds
  known: u32, // positions below it are in history
  steps: u32, // done so far
}
