"""What an exit code, a signal, a mask, a finding or an outcome means: the pure part of `sigtrace explain`."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sigtrace.model import meanings, signals
from sigtrace.model.codes import CODES, OUTCOMES
from sigtrace.model.signals import DefaultAction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: A value in the facts of an explanation: what JSON has.
Fact = str | int | bool | list[str] | list[int] | None

#: The signals by which people, runtimes and service managers ask for an end: a PID 1 without them is deaf.
_ASKING: Final = (signals.SIGTERM, signals.SIGINT, signals.SIGQUIT, signals.SIGHUP)
#: The kernel takes these out of what a process blocks, ignores or catches.
_UNREFUSABLE: Final = (signals.SIGKILL, signals.SIGSTOP)


class UnknownWordError(ValueError):
    """Nothing that could be explained; ``close``: what may have been meant."""

    def __init__(self, message: str, close: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.close = tuple(close)


@dataclass(frozen=True, slots=True)
class Explanation:
    """One reading of what was asked."""

    what: str
    """as it was asked"""
    kind: str
    """exit_code, signal, mask, finding, cause or outcome"""
    title: str
    text: tuple[str, ...]
    """paragraphs, each of whole sentences"""
    advice: tuple[str, ...] = ()
    causes: tuple[tuple[str, str], ...] = ()
    """(name of a cause or of a line in /proc/PID/status, its meaning)"""
    facts: Mapping[str, Fact] = field(kw_only=True)
    """the same for programs"""


def explain(what: str) -> list[Explanation]:
    """Every reading of ``what``, the likeliest first; never empty. Raises UnknownWordError."""
    word = what.strip()
    if re.fullmatch(r"[0-9a-fA-F]{16}|0[xX][0-9a-fA-F]{1,16}", word):
        return [_mask(what, int(word, 16))]
    if re.fullmatch(r"[0-9]{1,9}", word):
        return _number(what, int(word))
    if re.fullmatch(r"-[0-9]{1,2}", word) and 1 <= -int(word) <= signals.MAX_SIGNO:
        return [_exit_code(what, 128 - int(word)), _signal(what, -int(word))]
    found = _named(what, word.lower())
    if not found:
        try:
            found = [_signal(what, signals.number(word))]
        except ValueError:
            raise UnknownWordError("no exit code, signal, mask, finding code or outcome", _close(word)) from None
    return found


def words() -> list[str]:
    """All the names that can be asked for, in no order."""
    named = [signals.name(signo) for signo in range(1, signals.SIGRTMIN + 1) if signo not in (32, 33)]
    pairs = [f"{code}/{cause}" for code, entry in CODES.items() for cause in entry.causes]
    pairs += [f"{outcome}/{cause}" for outcome, entry in OUTCOMES.items() for cause in entry.causes]
    causes = [pair.partition("/")[2] for pair in pairs]
    return list(dict.fromkeys([*named, *CODES, *OUTCOMES, *pairs, *causes]))


def _close(word: str) -> list[str]:
    by_lower = {name.lower(): name for name in words()}
    # A signal is asked for without its SIG as often as with it.
    by_lower |= {name.lower().removeprefix("sig"): name for name in words() if name.startswith("SIG")}
    found = difflib.get_close_matches(word.lower(), by_lower, n=3, cutoff=0.6)
    return list(dict.fromkeys(by_lower[name] for name in found))


def _number(what: str, number: int) -> list[Explanation]:
    found = [_exit_code(what, number)] if number <= 255 else []
    if 1 <= number <= signals.MAX_SIGNO:
        found.append(_signal(what, number))
    if not found:
        hint = f"exit codes end at 255 and signals at 64; a mask is written 0x{number} or with 16 digits"
        raise UnknownWordError(hint)
    return found


def _exit_code(what: str, code: int) -> Explanation:
    text, advice = meanings.EXIT_CODES.get(code, ((), ()))
    signo = code - 128 if 1 <= code - 128 <= signals.MAX_SIGNO else None
    facts: dict[str, Fact] = {"exit_code": code, "signal": signals.name(signo) if signo else None}
    if signo is None:
        if not text:
            own = "No custom says what it means: the program chose it, and its documentation or log knows why."
            text = (
                (own,) if code < 128 else (own, "It is no 128 + signal either: signals end at 64, so 192 is the last.")
            )
        return Explanation(what, "exit_code", f"exit code {code}", text, advice, facts=facts)
    name = signals.name(signo)
    if signals.is_fatal(signo):
        start = f"{name} ended the process; or it exited with {code} by itself, by the custom of shells: 128 + signal."
    else:
        start = f"{name} ends no process by default, so the program chose this code, or a shell passed one on."
    if code not in meanings.EXIT_CODES:
        text = (_usually(signo),)
        if signals.is_fatal(signo) and signo not in _UNREFUSABLE:
            text += (f"As PID 1 of a container a process without a handler is spared a {name} that somebody sends.",)
    return Explanation(
        what, "exit_code", f"exit code {code} = 128 + {_label(signo)}", (start, *text), advice, facts=facts
    )


def _label(signo: int) -> str:
    name = signals.name(signo)
    return f"{name} ({signo})" if name.startswith("SIG") else str(signo)


def _usually(signo: int) -> str:
    if signo in meanings.SIGNALS:
        return meanings.SIGNALS[signo]
    return "A real-time signal: free for programs, queued one by one, never merged."


_ACTIONS: Final[Mapping[DefaultAction, str]] = MappingProxyType(
    {
        DefaultAction.TERMINATE: "ends the process",
        DefaultAction.CORE: "ends the process, with a core dump where limits allow one",
        DefaultAction.IGNORE: "nothing: the signal is dropped",
        DefaultAction.STOP: "stops the process until SIGCONT",
        DefaultAction.CONTINUE: "lets a stopped process go on",
    }
)


def _signal(what: str, signo: int) -> Explanation:
    name, action = signals.name(signo), signals.default_action(signo)
    catchable = signo not in _UNREFUSABLE
    text = [_usually(signo), f"Default action: {_ACTIONS[action]}."]
    advice: tuple[str, ...] = ()
    if signo == signals.SIGKILL:
        text.append("It can't be caught, blocked or ignored.")
        text.append(
            "PID 1 of a container: from outside (runtime, node) it ends it and all that live in its PID namespace; "
            "from inside it is dropped, and kill(2) returns 0 all the same."
        )
    elif signo == signals.SIGSTOP:
        text.append("It can't be caught, blocked or ignored.")
        text.append("PID 1 of a container: from outside it stops it; from inside it is dropped.")
    elif action in (DefaultAction.IGNORE, DefaultAction.CONTINUE):
        text.append("It can be caught and blocked.")
        text.append("PID 1 of a container: the same as for any process.")
    else:
        text.append("It can be caught, blocked and ignored.")
        spared = f"PID 1 of a container without a handler for it: dropped by the kernel, whoever sends it{_but(signo)}."
        text.append(spared)
        if signo in signals.STOP_SIGNALS:
            advice = (CODES["signal-dropped"].causes["no-handler"].advice,)
    facts: dict[str, Fact] = {
        "signal": name,
        "signo": signo,
        "default_action": action.value,
        "catchable": catchable,
        "exit_code": 128 + signo if signals.is_fatal(signo) else None,
        "mask": f"{1 << (signo - 1):016x}",
    }
    return Explanation(what, "signal", f"signal {_label(signo)}", tuple(text), advice, facts=facts)


def _but(signo: int) -> str:
    """A real fault is no message that could be dropped: force_sig_info_to_task() in kernel/signal.c."""
    if signo in (4, 5, 7, 8, 11, 31):
        return "; but when the kernel raises it for a fault of PID 1's own, it ends it"
    if signo == signals.SIGABRT:
        return "; abort() then ends it by a fault, with 139 (arm64: 133)"
    return ""


def _mask(what: str, mask: int) -> Explanation:
    numbers = signals.mask_signals(mask)
    names = [signals.name(signo) for signo in numbers]
    missing = [signals.name(signo) for signo in _ASKING if signo not in numbers]
    forced = [signals.name(signo) for signo in _UNREFUSABLE if signo in numbers]
    text = [", ".join(map(_label, numbers)) + "." if names else "No signal."]
    advice: tuple[str, ...] = ()
    causes: tuple[tuple[str, str], ...] = ()
    if forced:
        fields = ["SigPnd", "ShdPnd"]
        text.append(
            f"{' and '.join(forced)} can be pending only: the kernel lets no process block, ignore or catch it. "
            "So it is SigPnd or ShdPnd of /proc/PID/status (or a mask from somewhere else)."
        )
    else:
        fields = ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"]
        text.append("/proc/PID/status has five of these; the name of the line says which one it is:")
        caught = "there is a handler. "
        caught += f"Without one: {', '.join(missing)}." if missing else "All the usual stop signals have one."
        if signals.name(signals.SIGTERM) in missing:
            caught += (
                " If this is PID 1 of a container, SIGTERM is dropped (unless it takes signals by sigwait: tini does)."
            )
            advice = (CODES["signal-dropped"].causes["no-handler"].advice,)
        causes = (
            (
                "SigPnd, ShdPnd",
                "waiting to be taken, by a thread or by the process: blocked, or it is stopped or frozen",
            ),
            ("SigBlk", "blocked by this thread; they wait, unless another thread, sigwait or a signalfd takes them"),
            ("SigIgn", "ignored: thrown away when they come"),
            ("SigCgt", caught),
        )
    facts: dict[str, Fact] = {"mask": f"{mask:016x}", "signals": names, "signos": numbers, "fields": fields}
    return Explanation(what, "mask", f"mask {mask:016x}", tuple(text), advice, causes, facts=facts)


def _named(what: str, word: str) -> list[Explanation]:
    """Findings, outcomes and their causes. ``killed`` and ``crashed`` are both; a cause's name may be in several."""
    name, slash, cause = word.partition("/")
    if slash:
        return _causes_named(what, cause, only=name) if name else []
    found: list[Explanation] = []
    if code := CODES.get(word):
        causes = tuple((f"{one.name} ({one.severity.word})", one.meaning) for one in code.causes.values())
        text = (code.meaning, f"For the advice: sigtrace explain {word}/CAUSE")
        facts: dict[str, Fact] = {"code": word, "causes": list(code.causes)}
        found.append(Explanation(what, "finding", f"finding {word}", text, (), causes, facts=facts))
    if outcome := OUTCOMES.get(word):
        # What the finding of the same name has just said need not be said twice.
        pairs = tuple((one.name, one.meaning) for one in outcome.causes.values() if not found)
        facts = {"outcome": word, "causes": list(outcome.causes)}
        found.append(
            Explanation(
                what, "outcome", f"shutdown {word}", (outcome.meaning, *_same_causes(found)), (), pairs, facts=facts
            )
        )
    return found or _causes_named(what, word)


def _same_causes(found: list[Explanation]) -> list[str]:
    return ["Its causes are those of the finding."] if found else []


def _causes_named(what: str, cause: str, only: str = "") -> list[Explanation]:
    found: list[Explanation] = []
    for code in CODES.values():
        if cause in code.causes and only in ("", code.name):
            one = code.causes[cause]
            title = f"finding {code.name}/{cause} ({one.severity.word})"
            facts: dict[str, Fact] = {"code": code.name, "cause": cause, "severity": one.severity.word}
            found.append(
                Explanation(what, "cause", title, (code.meaning, _sentence(one.meaning)), (one.advice,), facts=facts)
            )
    for outcome in OUTCOMES.values():
        if cause in outcome.causes and only in ("", outcome.name) and not (outcome.name in CODES and found):
            reason = outcome.causes[cause]
            title = f"shutdown {outcome.name}/{cause}"
            facts = {"outcome": outcome.name, "cause": cause}
            text = (outcome.meaning, _sentence(reason.meaning))
            found.append(Explanation(what, "cause", title, text, (reason.advice,), facts=facts))
    return found


def _sentence(clause: str) -> str:
    return clause[0].upper() + clause[1:] + "."
