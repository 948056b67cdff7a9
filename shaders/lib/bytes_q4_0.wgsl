// q4_0 as bytes.

//#include q4_0
//#include centred_bytes
