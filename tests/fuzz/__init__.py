"""Random programs of real layers at real extents, compiled, interpreted, on several threads, for several processors.

`layers.py` holds what programs are made of, `programs.py` composes and differentiates them, `compare.py` runs one
program in every way and compares the results, `search.py` looks for programs that fail and makes them smaller, and
``python -m tests.fuzz`` runs as many as there is time for.
"""
