// iq4_nl in the file, as q4_0: 18 bytes a block, f16 d, 16 bytes of nibbles.

//#include raw_q4_0
