"""Programs in JAX's names, each run on JAX and on fdl with the same file."""
