"""sigtrace explains what signals do to containers."""

# The one place the version is written: pyproject.toml reads it from here without importing anything else.
__version__ = "0.1.0"
