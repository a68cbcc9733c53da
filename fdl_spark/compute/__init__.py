"""What a task computes: gradients of its shards and their sums along a fixed tree, and the optimizer's update."""
