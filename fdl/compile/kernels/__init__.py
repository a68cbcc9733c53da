"""Kernels: functions that emit the loops of heavy operations into an LLVM module."""
