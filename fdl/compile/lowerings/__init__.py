"""How operations become machine code: one `Lowering` object for each kind of operation that has code of its own."""
