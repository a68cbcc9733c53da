"""Which digit was spoken: a small network on a Kafka stream of recordings. See README.md."""
