"""Convolutions: on the register tile, and by vectors of channels."""
