"""`train`: its loop over steps, and what can be hung into it."""
