"""What commands read from the agent in place of a capture of their own: verdicts into sinks, and audits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Self

from sigtrace.audit.rows import Audit
from sigtrace.errors import RunError
from sigtrace.model.finding import Verdict
from sigtrace.model.recording.plain import UNKNOWN
from sigtrace.model.recording.values import Decoder
from sigtrace.service.client import Link
from sigtrace.service.protocol import AUDIT, VERDICTS
from sigtrace.service.verdicts import UnknownVerdictError, VerdictDecoder
from sigtrace.sinks.base import Sink

#: How soon it is noticed that the user wants to end.
_STEP_S: Final = 0.2
#: An audit takes a fraction of a second; runtimes that don't answer hold it up for some.
_AUDIT_S: Final = 30.0
#: No more is believed of an agent: a node has some hundred containers.
_AUDITS_MAX: Final = 10_000
_KEPT_S: Final = 10.0


class Verdicts:
    """Those that the agent has kept and, with ``follow``, makes from now on. ``with Verdicts(path) as verdicts: …``."""

    def __init__(self, path: str, *, since_ns: int = 0, follow: bool = False) -> None:
        """``since_ns``: since the epoch; 0: all, but with ``follow`` none. Raises as Link does."""
        self._decoder = VerdictDecoder()
        self._link = Link(path, VERDICTS, since_ns=since_ns, follow=follow)
        self.hello = self._link.hello
        self.lost = 0
        """so many the agent could not send, because we were too slow"""
        self.unknown = 0
        """so many are of kinds that this version doesn't know"""
        try:
            self._begin()
        except BaseException:
            self._link.close()
            raise

    @property
    def boot_id(self) -> str:
        """Of the boot that the last verdict was of; empty if that is not known."""
        return self._decoder.boot_id

    def _begin(self) -> None:
        """From here on nothing is missed."""
        frame = self._link.frame(_KEPT_S)
        if frame is None or frame.kind != "begin":
            raise RunError(f"the agent did not begin within {_KEPT_S:g} s", next_step="restart it")

    def next(self, timeout_s: float) -> Verdict | None:
        """The next one; None if none came in that time (s), or there are no more. Raises as Link.frame does."""
        end = time.monotonic() + timeout_s
        while (frame := self._link.frame(max(end - time.monotonic(), 0.0))) is not None:
            if frame.kind == "lost":
                self.lost += frame.value
            elif frame.kind == "verdict":
                try:
                    return self._decoder.verdict(frame.value)
                except UnknownVerdictError:
                    self.unknown += 1
                except ValueError as error:
                    raise RunError(f"the agent sends what is no verdict: {error}") from error
        return None

    @property
    def ended(self) -> bool:
        """Whether there are no more."""
        return self._link.ended

    def __iter__(self) -> Iterator[Verdict]:
        """Those that are kept, to the last. Raises RunError if the agent stands still."""
        while not self.ended:
            verdict = self.next(_KEPT_S)
            if verdict is not None:
                yield verdict
            elif not self.ended:
                raise RunError(f"the agent sent nothing for {_KEPT_S:g} s", next_step="restart it")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._link.close()


def verdicts(
    path: str,
    sinks: Sequence[Sink],
    *,
    done: Callable[[], bool],
    tell: Callable[[str], None],
    ready: Callable[[], None] = lambda: None,
    since_ns: int = 0,
    follow: bool = True,
) -> None:
    """Feeds sinks with the agent's verdicts, as a pipeline does, until it is done; the caller closes the sinks.

    ``ready``: called once nothing can be missed any more. ``tell``: takes a line for a person, of what was lost.
    Raises AgentGoneError when the agent ends, and as :class:`sigtrace.service.client.Link` does.
    """
    with Verdicts(path, since_ns=since_ns, follow=follow) as source:
        ready()
        while not done() and not source.ended:
            lost = source.lost
            verdict = source.next(_STEP_S)
            if source.lost > lost:
                tell(f"{source.lost - lost:,} verdicts were lost: this was read too slowly")
            for sink in sinks:
                if verdict is not None:
                    sink.verdict(verdict)
                sink.pass_time(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        if source.unknown:
            tell(f"{source.unknown:,} verdicts of the agent are of kinds that this version doesn't know")


def audits(path: str, *, signo: int = 0, lasting_s: float | None = None) -> list[Audit]:
    """As the agent finds them now, the worst first; command lines are redacted.

    ``signo``, ``lasting_s``: see auditor.Auditor.audit. Raises as Link does.
    """
    decoder = Decoder({})
    found: list[Audit] = []
    with Link(path, AUDIT, signo=signo, lasting_s=0.0 if lasting_s is None else lasting_s) as link:
        while not link.ended and len(found) < _AUDITS_MAX:
            frame = link.frame(_AUDIT_S)
            if frame is None:
                break
            if frame.kind != AUDIT:
                continue
            try:
                audit = decoder.object(Audit, frame.value)
            except ValueError as error:
                raise RunError(f"the agent sends what is no audit: {error}") from error
            if audit is not UNKNOWN:
                found.append(audit)
        if not link.ended and len(found) < _AUDITS_MAX:
            raise RunError(f"the agent made no audit within {_AUDIT_S:g} s", next_step="sigtrace audit --local")
    return found
