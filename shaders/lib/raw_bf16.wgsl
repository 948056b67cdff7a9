// bf16 in the file: rows of 16-bit weights, not padded, moved as f16 are.

//#include raw_f16
