"""What Prometheus reads: the text exposition, and the small HTTP server that serves it."""
