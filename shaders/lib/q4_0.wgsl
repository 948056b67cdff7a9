// q4_0: weight j = d * (q[j] - 8); one vec4 of quants a block (nibbles), d in half a u32 of scales.

const CENTRE = 8.0;

//#include centred_nibbles
