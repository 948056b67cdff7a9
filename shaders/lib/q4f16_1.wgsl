// q4f16_1: weight j = d * (q[j] - 7); one vec4 of quants a block (nibbles), d in half a u32 of scales.

const CENTRE = 7.0;

//#include centred_nibbles
