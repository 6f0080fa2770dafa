"""`sigtrace explain`: what it says, in both forms, and that it never fails but for a word it does not know."""

import contextlib
import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from sigtrace.cli import main as cli_main
from sigtrace.cli.explain import explain as command
from sigtrace.model import signals
from sigtrace.model.codes import CODES, OUTCOMES
from sigtrace.model.explain import UnknownWordError, explain, words


def text_of(word):
    return " ".join(" ".join([one.title, *one.text, *sum(one.causes, ()), *one.advice]) for one in explain(word))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("137", ["128 + SIGKILL", "OOM killer", "need not be memory", "grace period", "by itself"]),
        ("139", ["128 + SIGSEGV", "PID 1", "abort()", "134"]),
        ("134", ["128 + SIGABRT", "139"]),
        ("143", ["128 + SIGTERM", "default action", "handled", "JVM", "PID 1"]),
        ("126", ["could not be executed"]),
        ("127", ["not found"]),
        ("1", ["exit code 1", "signal SIGHUP (1)"]),
        ("0", ["Success"]),
        ("255", ["exit(-1)"]),
        ("129", ["128 + SIGHUP"]),
        ("192", ["128 + SIGRTMAX"]),
        ("193", ["no 128 + signal"]),
        ("77", ["the program chose it"]),
        ("160", ["128 + 32", "pthread_cancel"]),
        ("145", ["SIGCHLD ends no process by default"]),
        ("-9", ["exit code 137", "signal SIGKILL"]),
        ("15", ["exit code 15", "signal SIGTERM (15)"]),
        ("term", ["SIGTERM", "ends the process", "caught", "without a handler", "dropped", "tini"]),
        ("SIGKILL", ["can't be caught", "from inside"]),
        ("SIGSTOP", ["can't be caught", "stops the process"]),
        ("SIGCHLD", ["zombie stays"]),
        ("segv", ["fault of PID 1's own"]),
        ("rtmin+3", ["power off"]),
        ("rtmin+9", ["real-time"]),
        ("0000000000010002", ["SIGINT (2), SIGCHLD (17)", "SigCgt", "SigBlk", "SigIgn", "SIGTERM is dropped"]),
        ("0x10002", ["SIGINT (2), SIGCHLD (17)"]),
        ("0x0", ["No signal"]),
        ("0000000000000100", ["SIGKILL can be pending only"]),
        ("0000000000004007", ["All the usual stop signals have one"]),
        ("signal-dropped", ["spared default actions", "shell-form (error)", "from-inside (info)"]),
        ("signal-dropped/shell-form", ["sh -c", "exec form"]),
        ("Killed/OOM", ["finding killed/oom (error)", "memory"]),
        ("killed", ["finding killed", "shutdown killed"]),
        ("escalated", ["SIGKILL had to end it", "pre-stop-overran"]),
        ("escalated/slow", ["terminationGracePeriodSeconds"]),
        ("shell-form", ["finding signal-dropped/shell-form"]),
        ("exited", ["by itself with status 0"]),
    ],
)
def test_it_says_what_matters(what, said):
    text = text_of(what)
    assert [one for one in said if one not in text] == []


@pytest.mark.parametrize(
    ("what", "close"),
    [
        ("sigtrem", "SIGTERM"),
        ("trem", "SIGTERM"),
        ("kiled", "killed"),
        ("signal-droped", "signal-dropped"),
        ("signal-dropped/shellform", "signal-dropped/shell-form"),
        ("esclated", "escalated"),
    ],
)
def test_an_unknown_word_gets_close_matches(what, close):
    with pytest.raises(UnknownWordError) as caught:
        explain(what)
    assert close in caught.value.close


@pytest.mark.parametrize(
    "what", ["", " ", "256", "99999", "-65", "0x", "0x10000000000000000", "1.5", "killed/", "/oom", "½", "٣"]
)
def test_what_is_nothing_is_unknown(what):
    with pytest.raises(UnknownWordError):
        explain(what)


def test_a_number_that_is_too_large_says_where_they_end_and_how_a_mask_is_written():
    with pytest.raises(UnknownWordError, match="end at 255 and signals at 64; a mask is written 0x10002"):
        explain("10002")


@given(st.text() | st.integers().map(str) | st.integers(0, 1 << 65).map(hex))
def test_any_word_is_explained_or_unknown(what):
    with contextlib.suppress(UnknownWordError):
        assert explain(what)


@pytest.mark.parametrize("what", [*map(str, range(256)), *words()])
def test_every_code_signal_finding_and_outcome_is_explained_with_care(what):
    for one in explain(what):
        assert one.title
        assert one.text
        assert all(text.endswith((".", ":", "/CAUSE")) for text in one.text)


def test_the_words_are_all_codes_and_outcomes_with_their_causes():
    assert {*CODES, *OUTCOMES, "SIGTERM", "killed/oom", "escalated/slow"} <= set(words())


@given(st.integers(0, (1 << 64) - 1), st.sampled_from(["{:016x}", "{:016X}", "0x{:x}", "0X{:X}"]))
def test_a_mask_survives_the_round_trip(mask, form):
    (one,) = explain(form.format(mask))
    assert sum(1 << (signo - 1) for signo in one.facts["signos"]) == mask
    assert int(one.facts["mask"], 16) == mask
    if {signals.SIGKILL, signals.SIGSTOP} & set(one.facts["signos"]):
        assert one.facts["fields"] == ["SigPnd", "ShdPnd"]


@pytest.mark.parametrize("columns", ["20", "80", "200"])
def test_text_fits_into_80_columns_and_has_no_colour_in_a_pipe(columns):
    done = CliRunner().invoke(command, ["137", "0x10002", "killed", "signal-dropped", *CODES], env={"COLUMNS": columns})
    assert done.exit_code == 0
    assert max(map(len, done.output.splitlines())) <= 80
    assert "\x1b" not in done.output


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colour_is_for_terminals_and_no_color_is_honoured(monkeypatch, no_color, coloured):
    monkeypatch.setattr("sigtrace.cli.options.sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    from sigtrace.cli.options import wants_colour

    assert wants_colour() is coloured


def test_json_is_one_object_a_line_for_each_reading():
    done = CliRunner().invoke(command, ["-o", "json", "15", "0x10002"])
    code, sig, mask = map(json.loads, done.output.splitlines())
    assert (code["type"], code["schema"], code["kind"], code["exit_code"]) == ("explanation", 1, "exit_code", 15)
    assert (sig["kind"], sig["signal"], sig["default_action"], sig["exit_code"]) == (
        "signal",
        "SIGTERM",
        "terminate",
        143,
    )
    assert (mask["signals"], mask["mask"]) == (["SIGINT", "SIGCHLD"], "0000000000010002")


@pytest.mark.parametrize("what", ["kiled", "sig\x1b[31mterm", "\n"])
def test_an_unknown_word_is_wrong_usage_and_nothing_is_printed(capsys, what):
    assert cli_main.main(["explain", "137", what]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sigtrace: cannot explain ")
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_a_mistyped_option_is_no_word(capsys):
    assert cli_main.main(["explain", "--outptu", "json", "137"]) == 2
    assert "No such option" in capsys.readouterr().err
