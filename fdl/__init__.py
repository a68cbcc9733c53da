"""fdl: pure functions over arrays, differentiated, vectorised and compiled for the CPU."""
