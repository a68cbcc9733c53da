"""Time, memory and work of the steps of a compiled program."""
