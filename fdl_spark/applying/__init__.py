"""`predict` and `evaluate`: what is done with parameters."""
