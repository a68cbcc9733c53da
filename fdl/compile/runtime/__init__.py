"""From an LLVM module to machine code that runs: archives, the disk cache, threads, memory of results, calls."""
