"""Command lines without what they may hide: passwords, tokens, names of customers. Pure.

A command line keeps its program's name and the words that are known to be harmless; the rest is ``…``. What is known
is a list, not a guess at what looks like a secret: a password may look like anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

HIDDEN: Final = "…"

_SHELLS: Final = frozenset({"sh", "dash", "bash", "ash", "zsh", "ksh", "mksh", "rbash"})
#: Programs whose first word that is no option is what they run, and the options in front of it that take no word.
_RUNS_FILE: Final = {
    **dict.fromkeys(_SHELLS, frozenset({"-e", "-u", "-x", "-l", "-i", "-p"})),
    "python": frozenset({"-u", "-B", "-E", "-I", "-O", "-OO", "-s", "-S", "-v"}),
    "node": frozenset[str](),
    "ruby": frozenset({"-w"}),
    "perl": frozenset({"-w", "-T"}),
    "php": frozenset[str](),
    "bundle": frozenset({"exec"}),
    "npm": frozenset({"run", "exec"}),
    "yarn": frozenset({"run"}),
}
#: Programs that run another one, and their options: True for those that take a number or a signal's name.
_RUNS_PROGRAM: Final[dict[str, dict[str, bool]]] = {
    "tini": (_TINI := {"-g": False, "-s": False, "-v": False, "-p": True}),
    "tini-static": _TINI,
    "docker-init": _TINI,
    "dumb-init": {"-v": False, "-c": False, "--single-child": False},
    "timeout": {"-k": True, "-s": True, "--foreground": False},
    "nice": {"-n": True},
} | {name: {} for name in "catatonit busybox exec nohup setsid env runsv".split()}
#: Options that take a number, a size or a time.
_NUMBERED: Final = frozenset(
    "-w --workers --worker --threads --processes -t --timeout --graceful-timeout --keep-alive --max-requests "
    "--backlog --concurrency --port --http-port --grace --shutdown-timeout --timeout-graceful-shutdown "
    "--stop-timeout --jobs -j --replicas --nodes --interval -n".split()
)
#: Options that take one of these words.
_CHOICES: Final = frozenset({"-k", "--worker-class", "--pool", "--log-level", "--loglevel", "-l", "--loop", "--http"})
_CHOSEN: Final = frozenset(
    "sync gthread gevent eventlet tornado uvicorn.workers.UvicornWorker prefork solo debug info warning error "
    "critical DEBUG INFO WARNING ERROR CRITICAL uvloop asyncio auto h11 httptools".split()
)
#: Options and words that mean the same wherever they stand.
_HARMLESS: Final = frozenset(
    "--preload --reload --no-reload --daemon --daemonize --nodaemon --foreground --no-daemon --init --production "
    "--verbose --quiet --debug --lazy --master --die-on-term --insecure --help --version -- && || ; & | "
    "start run serve server worker beat runserver infinity web master daemon".split()
)
#: What a program may call its processes, behind its name: ``nginx: master process …``.
_TITLES: Final = frozenset(
    "master worker process writer checkpointer background walwriter launcher autovacuum logical replication "
    "main manager cache arbiter child pool supervisor".split()
)

_NUMBER: Final = re.compile(r"\d{1,6}(?:\.\d{1,3})?(?:ms|[smhdkKMG])?|inf")
_SIGNAL: Final = re.compile(r"(?:SIG)?[A-Z]{2,6}\d{0,2}|\d{1,3}[smhd]?")
_LETTER: Final = re.compile(r"-[a-zA-Z]")
_SHELL_OPTIONS: Final = re.compile(r"[-+][abcefhilmnoprstuvx]{1,5}")
_FILE: Final = re.compile(r"[\w./][\w./-]{0,254}")
#: A program's name or path; ``nginx:`` and ``(sd-pam)`` are what some make of theirs.
_NAME: Final = re.compile(r"(?:[\w./+~-]+:?|\([\w-]+\))?")
_NAME_PART: Final = re.compile(r"([\w./+~-]*)(=|://)?")
#: Longer is no program's name, but perhaps a token.
_NAME_MAX: Final = 64
_ASSIGNED: Final = re.compile(r"[A-Za-z_]\w*\+?=")
#: In a shell's words: the value may go on behind the next blank.
_QUOTING: Final = re.compile(r"['\"`$\\(]")


def redacted_argv(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The program, what it runs, and known harmless words; each run of other words is one ``…``."""
    return tuple(_merged(_words(argv)))


def _merged(words: Iterator[str]) -> Iterator[str]:
    last = ""
    for word in words:
        if not word == last == HIDDEN:
            yield word
        last = word


def _words(argv: tuple[str, ...]) -> Iterator[str]:
    if not argv:
        return
    yield _program(argv[0])
    name, rest = _name(argv[0]), argv[1:]
    if name in _RUNS_PROGRAM:
        yield from _wrapped(_RUNS_PROGRAM[name], rest)
    elif name in _RUNS_FILE:
        yield from _run(name, rest)
    elif name == "sleep":
        yield from (word if _NUMBER.fullmatch(word) or word in _HARMLESS else HIDDEN for word in rest)
    elif name == "java":
        yield from _java(rest)
    else:
        yield from _options(rest)


def _name(word: str) -> str:
    """``/usr/bin/python3.11`` → ``python``; ``-bash``, a login shell, → ``bash``."""
    return re.sub(r"[\d.]+$", "", word.rpartition("/")[2].lstrip("-"))


def _program(word: str) -> str:
    """A program's path. What it may have written over it since: its title, without what is not known."""
    first, *rest = word.split() or [""]
    if not _NAME.fullmatch(first):
        # NAME=value, app:port, scheme://…: what stands in front is a name. In front of @ it may be a secret.
        cut, mark = _NAME_PART.match(first).groups()  # type: ignore[union-attr]  # it matches anything
        secret = len(cut) > _NAME_MAX or ("@" in first and mark is None)
        return ("" if secret else cut) + HIDDEN
    if len(first.rpartition("/")[2]) > _NAME_MAX:
        return HIDDEN
    kept: list[str] = []
    for one in rest:
        if one not in _TITLES:
            return " ".join([first, *kept, HIDDEN])
        kept.append(one)
    return " ".join([first, *kept])


def _wrapped(options: dict[str, bool], rest: tuple[str, ...]) -> Iterator[str]:
    """Behind an init and its like stands a program again."""
    at = 0
    while at < len(rest):
        word = rest[at]
        at += 1
        if word == "--":
            yield word
            yield from _inner(rest[at:])
            return
        if _ASSIGNED.match(word):
            yield HIDDEN
            if _QUOTING.search(word):
                return
        elif word in options:
            yield word
            if options[word] and at < len(rest):
                yield rest[at] if _SIGNAL.fullmatch(rest[at]) else HIDDEN
                at += 1
        elif _NUMBER.fullmatch(word):
            yield word  # timeout 10 …
        elif word.startswith("-"):
            # Perhaps the next word belongs to it.
            yield from _hidden(rest[at - 1 :])
            return
        else:
            yield from _inner(rest[at - 1 :])
            return


def _inner(argv: tuple[str, ...]) -> Iterator[str]:
    """A program in another's command line: its name may be none."""
    yield from _words(argv) if argv and _FILE.fullmatch(argv[0]) else _hidden(argv)


def _run(name: str, rest: tuple[str, ...]) -> Iterator[str]:
    """A shell or an interpreter: options, then what it runs."""
    for at, word in enumerate(rest):
        behind = rest[at + 1 :]
        if name in _SHELLS and _SHELL_OPTIONS.fullmatch(word):
            yield word
            if "o" in word and behind:  # -eo pipefail -c …
                yield from _behind_o(name, behind)
                return
            if "c" in word:
                yield from _shell_form(behind)
                return
        elif word in _RUNS_FILE[name]:
            yield word
        elif name == "python" and word == "-m" and behind:
            yield word
            yield from _inner(behind)
            return
        elif word.startswith(("-", "+")):
            yield word if _LETTER.fullmatch(word) else HIDDEN
            yield from _hidden(behind)
            return
        else:
            yield from _file(word)
            yield from _options(behind)
            return


def _behind_o(name: str, behind: tuple[str, ...]) -> Iterator[str]:
    yield behind[0] if behind[0] in ("pipefail", "errexit", "nounset", "xtrace") else HIDDEN
    yield from _run(name, behind[1:])


def _shell_form(rest: tuple[str, ...]) -> Iterator[str]:
    """``sh -c COMMAND``: the command's first program and its harmless words, in one word as it was."""
    if not rest:
        return
    if rest[0] in _RUNS_FILE["bash"]:  # sh -c -e COMMAND
        yield rest[0]
        yield from _shell_form(rest[1:])
        return
    yield _command(rest[0])
    yield from _hidden(rest[1:])


def _command(text: str) -> str:
    words = text.split()
    kept: list[str] = []
    while words and (words[0] in ("exec", "set", "cd") or _ASSIGNED.match(words[0])):
        word = words.pop(0)
        kept.append(word if word in ("exec", "set", "cd") else HIDDEN)
        if word in ("set", "cd") or _QUOTING.search(word):
            words = [HIDDEN] if words else []  # where the value ends is the shell's to know
    kept += _inner(tuple(words))
    return " ".join(_merged(iter(kept)))


def _java(rest: tuple[str, ...]) -> Iterator[str]:
    """The archive or the class; properties (-D…) may be anything."""
    for at, word in enumerate(rest):
        if word == "-jar" and at + 1 < len(rest):
            yield word
            yield from _file(rest[at + 1])
            yield from _hidden(rest[at + 2 :])
            return
        yield HIDDEN


def _file(word: str) -> Iterator[str]:
    yield word if _FILE.fullmatch(word) and re.search(r"[./]|^[a-z]{1,12}$", word) else HIDDEN


def _options(rest: tuple[str, ...]) -> Iterator[str]:
    """Of a program that is not known: words that are harmless wherever they stand, and numbers behind their options."""
    taken: Callable[[str], object] | None = None
    for word in rest:
        option, equals, value = word.partition("=")
        if taken is not None and not word.startswith("-"):
            yield word if taken(word) else HIDDEN
            taken = None
            continue
        takes = _takes(option)
        if equals:
            yield word if option.startswith("--") and takes and takes(value) else HIDDEN
            taken = None
        elif word in _HARMLESS:
            yield word
            taken = None
        elif not word.startswith("-"):
            yield HIDDEN
        else:
            yield word if takes or _LETTER.fullmatch(word) else HIDDEN
            # Whatever stands behind an option may belong to it.
            taken = takes or _nothing


def _takes(option: str) -> Callable[[str], object] | None:
    if option in _NUMBERED:
        return _NUMBER.fullmatch
    return _CHOSEN.__contains__ if option in _CHOICES else None


def _nothing(_word: str) -> bool:
    return False


def _hidden(rest: tuple[str, ...]) -> Iterator[str]:
    if rest:
        yield HIDDEN
