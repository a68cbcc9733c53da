"""What schedules are made of: affine index functions, bodies of loops, loop nests, steps."""
