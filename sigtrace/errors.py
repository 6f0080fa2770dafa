"""Errors a user can meet. Each says what failed, with which value, why, and the next step; each has its exit status."""

from __future__ import annotations

EXIT_OK = 0
EXIT_FINDINGS = 1
EXIT_USAGE = 2
EXIT_HOST = 3
EXIT_RUN = 4


class SigtraceError(Exception):
    """Base of all errors that reach a user as one line."""

    exit_code = EXIT_RUN

    def __init__(self, message: str, *, next_step: str = "", detail: str = "") -> None:
        """``message``: what failed, with which value and why; ``next_step``: what to do; ``detail``: a long log."""
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.message}: {self.next_step}" if self.next_step else self.message


class UsageError(SigtraceError):
    """A wrong option, argument or configuration."""

    exit_code = EXIT_USAGE


class HostError(SigtraceError):
    """This host cannot do it: no backend, a missing capability, library or kernel feature."""

    exit_code = EXIT_HOST


class RunError(SigtraceError):
    """It failed while running."""

    exit_code = EXIT_RUN
