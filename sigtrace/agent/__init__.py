"""The node daemon: what it is given, and what it does with it."""
