"""Sparse row gradients: of a table from which few rows were looked up, and steps made up for by rows that missed them.

Transposition reaches it through `fdl.core.primitive.Linear`, of which a :class:`lookups.Table` is one, and trees
through the pytree registry, in which :class:`rows.Rows` is a node (decisions 009 and 041).
"""
