"""From the data of a user to shards on the executors."""
