"""OTLP: a shutdown is a trace. Messages are built and sent by ourselves (docs/otlp.md says why, and what it costs)."""
