"""What a recording is made of: values as JSON, items as lines, lines in frames. Pure; files are opened elsewhere."""
