"""From a Program to a plan: which equations share loops, in which order steps run, where values are in memory."""
