"""From a plan to one LLVM function."""
