"""Checkpoints: what is in a folder, how it is written, and whose it is."""
