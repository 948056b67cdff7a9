// q4f16_1 as bytes.

//#include q4f16_1
//#include centred_bytes
