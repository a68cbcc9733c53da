"""Training steps of fdl, PyTorch and JAX, measured in one run."""
