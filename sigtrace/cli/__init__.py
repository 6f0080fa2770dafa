"""The commands, one a file. ``main`` is the one place that maps errors to exit statuses."""
