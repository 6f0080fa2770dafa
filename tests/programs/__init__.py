"""Real programs, each stopped as PID 1 of a container in the forms in which images start them."""
