"""Matrix products: on the register tile, as dot products, and by rows that stream by."""
