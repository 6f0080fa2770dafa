"""The rule book as state machines. Pure: observations and the time go in, verdicts come out."""
