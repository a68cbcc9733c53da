"""Decompositions of small matrices, several at once: each lane of a vector has a matrix of its own."""
