"""What engines have in common: where slices are cut, and what is kept from step to step."""
