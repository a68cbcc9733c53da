"""What everything else is made of: types, Programs, primitives, interpreters."""
