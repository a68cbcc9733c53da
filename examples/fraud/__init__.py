"""Which payments by card are frauds: a Spark ML pipeline on data of which 0.17 % are. See README.md."""
