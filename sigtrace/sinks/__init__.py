"""Where observations and verdicts go."""
