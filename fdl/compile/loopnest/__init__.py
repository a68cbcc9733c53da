"""Code of loop nests and epilogues, and of the team of threads that shares them."""
