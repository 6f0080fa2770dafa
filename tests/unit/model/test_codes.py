"""The catalogue says what interface.md's tables say, and something useful about each entry."""

import dataclasses
import re

import pytest

from sigtrace.model import codes
from sigtrace.model.codes import CODES, OUTCOMES, Severity

# interface.md, "A finding": code, causes, severity. `unknown` is in each list.
FINDINGS = {
    "signal-dropped": "shell-form script-without-exec no-handler late-drop from-inside",
    "signal-ignored": "sig-ign",
    "signal-pending": "blocked stopped frozen traced",
    "signal-not-forwarded": "main-exited-first main-kept-waiting",
    "stop-unanswered": "dropped ignored pending not-forwarded slow grace-shortened pre-stop-overran",
    "killed": "oom grace-expired pre-stop-overran grace-shortened exec-timeout no-stop-signal unit-stop by-parent "
    "by-child by-peer manual",
    "zombie-unreaped": "pid1-does-not-reap parent-never-waits",
    "crash-masked": "supervisor-restarts",
    "crashed": "fatal-signal abort-as-pid1 exit-status relayed",
    "events-lost": "ring-full rate-limited queue-full table-full kernel-missed",
}
SEVERITIES = {
    "signal-dropped": "error",
    "signal-ignored": "info",
    "signal-pending": "warning",
    "signal-not-forwarded": "warning",
    "stop-unanswered": "warning",
    "killed": "warning",
    "zombie-unreaped": "warning",
    "crash-masked": "error",
    "crashed": "error",
    "events-lost": "warning",
}
EXCEPTIONS = {
    ("signal-dropped", "from-inside"): "info",
    ("killed", "oom"): "error",
    ("killed", "grace-expired"): "error",
}
SHUTDOWNS = {
    "oom": "main-process group relayed unknown",
    "crashed": FINDINGS["crashed"] + " unknown",
    "escalated": "dropped ignored pending not-forwarded slow grace-shortened pre-stop-overran unknown",
    "killed": FINDINGS["killed"] + " unknown",
    "incomplete": "main-exited-first unknown",
    "terminated": "no-handler unknown",
    "graceful": "pre-stop unknown",
    "exited": "unknown",
}
PAIRS = [(code, cause) for code, entry in CODES.items() for cause in entry.causes]
TEXTS = [
    (f"{name}/{cause.name}", cause)
    for table in (CODES, OUTCOMES)
    for name, entry in table.items()
    for cause in entry.causes.values()
]


def test_it_has_the_findings_of_the_interface_and_no_more():
    assert {code: list(entry.causes) for code, entry in CODES.items()} == {
        code: [*causes.split(), "unknown"] for code, causes in FINDINGS.items()
    }


def test_it_has_the_outcomes_of_the_interface_in_the_order_in_which_they_fit():
    assert [(name, list(entry.causes)) for name, entry in OUTCOMES.items()] == [
        (name, causes.split()) for name, causes in SHUTDOWNS.items()
    ]
    assert {name for name, entry in OUTCOMES.items() if entry.may_be_null} == {"graceful", "exited"}


@pytest.mark.parametrize(("code", "cause"), PAIRS)
def test_severities_are_fixed_per_code_and_cause(code, cause):
    assert codes.severity(code, cause).word == EXCEPTIONS.get((code, cause), SEVERITIES[code])


def test_a_signal_dropped_at_a_nested_init_is_nobodys_fault():
    assert codes.severity("signal-dropped", "no-handler", nested=True) is Severity.INFO
    assert codes.severity("killed", "oom", nested=True) is Severity.ERROR


def test_zombies_become_an_error_above_half_of_pids_max():
    assert codes.severity("zombie-unreaped", "pid1-does-not-reap", pids_share=0.5) is Severity.WARNING
    assert codes.severity("zombie-unreaped", "pid1-does-not-reap", pids_share=0.51) is Severity.ERROR
    assert codes.severity("events-lost", "ring-full", pids_share=0.9) is Severity.WARNING


def test_severities_are_ordered_and_go_to_words_and_back():
    assert Severity.INFO < Severity.WARNING < Severity.ERROR
    assert [Severity.of(severity.word) for severity in Severity] == list(Severity)
    with pytest.raises(ValueError, match="'fatal' is not a severity"):
        Severity.of("fatal")


@pytest.mark.parametrize(("code", "cause"), [("signal-dropped", "oom"), ("nonsense", "unknown")])
def test_what_is_not_in_the_catalogue_is_a_programming_error(code, cause):
    with pytest.raises(KeyError, match=f"no finding {code}/{cause}"):
        codes.severity(code, cause)


@pytest.mark.parametrize(("name", "cause"), TEXTS, ids=[name for name, _ in TEXTS])
def test_each_cause_is_a_clause_with_an_advice(name, cause):
    for text in (cause.meaning, cause.advice):
        assert len(text) > 10
        assert text == text.strip()
        assert not text.endswith("."), "the caller sets it into a sentence"
    assert re.match(r"[a-z`]|PID|SIGKILL", cause.meaning)


@pytest.mark.parametrize("entry", [*CODES.values(), *OUTCOMES.values()], ids=lambda entry: entry.name)
def test_each_code_and_outcome_is_a_sentence(entry):
    assert entry.meaning[0].isupper()
    assert entry.meaning.endswith(".")


@pytest.mark.parametrize(
    ("code", "cause", "words"),
    [
        ("signal-dropped", "shell-form", ["exec form", "--init", "tini"]),
        ("signal-dropped", "script-without-exec", ['exec "$@"']),
        ("signal-dropped", "no-handler", ["handler", "tini", "shareProcessNamespace"]),
        ("killed", "grace-expired", ["terminationGracePeriodSeconds"]),
        ("signal-ignored", "sig-ign", ["STOPSIGNAL"]),
        ("zombie-unreaped", "pid1-does-not-reap", ["tini", "--init", "shareProcessNamespace"]),
    ],
)
def test_the_advice_names_the_fix(code, cause, words):
    assert [word for word in words if word not in codes.advice(code, cause)] == []


def test_nothing_in_it_can_be_changed():
    with pytest.raises(TypeError):
        CODES["new"] = CODES["killed"]
    with pytest.raises(TypeError):
        CODES["killed"].causes["new"] = None
    with pytest.raises(dataclasses.FrozenInstanceError):
        CODES["killed"].meaning = ""
