"""Which operations have native code, for which dtypes, and how their operands may lie in memory."""
