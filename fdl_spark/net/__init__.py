"""Connections between the tasks of a job: authenticated sockets, shared memory, and the sums that travel on them."""
