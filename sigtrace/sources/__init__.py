"""Where events come from. ``host`` says what this host can do, ``select`` which source that leaves."""
