"""Products of blocks of bfloat16 and int8 by AMX, the processor's matrix unit."""
