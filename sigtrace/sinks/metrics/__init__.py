"""The bookkeeping behind every exporter of metrics."""
