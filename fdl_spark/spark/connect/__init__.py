"""What a session of Spark Connect has in their place: operations, uploads and shared values."""
