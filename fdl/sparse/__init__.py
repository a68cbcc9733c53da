"""Sparse row gradients: of a table from which few rows were looked up, and of optimizers that touch those rows only.

The rest of fdl reaches it through `fdl.core.primitive.Linear`, of which a :class:`lookups.Table` is one, and through
the pytree registry, in which :class:`rows.Rows` is a node (decisions 009 and 041).
"""
