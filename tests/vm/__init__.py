"""Runs commands under other kernels: ``kernels`` fetches Debian's, ``run`` boots them. See README.md."""
