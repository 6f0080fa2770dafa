"""What `top` shows: the aggregation, and a plain table of it."""
