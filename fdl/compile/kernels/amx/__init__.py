"""Products of blocks of bfloat16 by AMX, the processor's matrix unit."""
