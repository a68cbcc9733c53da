"""Machine code that checks arguments and makes results, so that a call needs no Python, and the pool of threads."""
