"""Signal numbers, names, default actions and masks against signal(7) and the running kernel's own table."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigtrace.model import signals
from sigtrace.model.signals import DefaultAction

# 32 and 33 belong to glibc: they have no name.
NAMED = [*range(1, 32), *range(34, 65)]

# The table "Standard signals" of signal(7), x86/ARM column, by action.
MANUAL = {
    DefaultAction.CORE: "QUIT ILL TRAP ABRT BUS FPE SEGV XCPU XFSZ SYS",
    DefaultAction.TERMINATE: "HUP INT KILL USR1 USR2 PIPE ALRM TERM STKFLT VTALRM PROF IO PWR",
    DefaultAction.IGNORE: "CHLD URG WINCH",
    DefaultAction.STOP: "STOP TSTP TTIN TTOU",
    DefaultAction.CONTINUE: "CONT",
}


@pytest.mark.parametrize("signo", NAMED)
def test_a_name_and_its_number_are_one_in_every_spelling(signo):
    name = signals.name(signo)
    spellings = [name, name.lower(), name.removeprefix("SIG"), name.removeprefix("SIG").lower(), str(signo)]
    assert {signals.number(s) for s in spellings} == {signo}
    assert signals.number(f"  {name}\n") == signo


@pytest.mark.parametrize("member", [s for s in signal.Signals if s not in {signal.SIGRTMIN, signal.SIGRTMAX}])
def test_standard_names_are_those_of_this_platform(member):
    assert signals.name(member.value) == member.name


def test_names_are_unique_and_numbers_without_one_say_so():
    assert len({signals.name(n) for n in NAMED}) == len(NAMED)
    assert [signals.name(n) for n in (0, 32, 33, 65, 99, -1)] == [f"signal {n}" for n in (0, 32, 33, 65, 99, -1)]


@pytest.mark.parametrize(
    ("text", "signo"),
    [
        ("IOT", 6),
        ("SIGCLD", 17),
        ("sigpoll", 29),
        ("RTMIN", 34),
        ("RTMIN+3", 37),
        ("SIGRTMIN+30", 64),
        ("RTMAX", 64),
        ("SIGRTMAX-1", 63),
        ("RTMAX-30", 34),
        ("064", 64),
    ],
)
def test_other_spellings_are_understood(text, signo):
    assert signals.number(text) == signo


@pytest.mark.parametrize(
    "text", ["", "0", "65", "999", "-9", "+9", "9.0", "TERMINATE", "RTMIN+31", "RTMAX-31", "RTMIN-1", "RTMAX+1", "٩"]
)
def test_what_is_no_signal_is_refused_with_its_text(text):
    with pytest.raises(ValueError, match="is not a signal") as raised:
        signals.number(text)
    assert repr(text) in str(raised.value)


@given(st.text())
def test_any_text_is_a_signal_or_refused(text):
    try:
        signo = signals.number(text)
    except ValueError:
        return
    assert 1 <= signo <= 64


@pytest.mark.parametrize("action", MANUAL)
def test_default_actions_are_those_of_the_manual(action):
    named = {f"SIG{name}" for name in MANUAL[action].split()}
    assert {signals.name(n) for n in range(1, 32) if signals.default_action(n) is action} == named


def test_the_manual_names_every_standard_signal_once():
    assert sorted(signals.number(n) for names in MANUAL.values() for n in names.split()) == list(range(1, 32))


@pytest.mark.parametrize("signo", range(32, 65))
def test_real_time_signals_terminate(signo):
    assert signals.default_action(signo) is DefaultAction.TERMINATE
    assert signals.is_fatal(signo)


def test_fatal_is_what_terminates_with_or_without_a_core():
    fatal = set((MANUAL[DefaultAction.CORE] + " " + MANUAL[DefaultAction.TERMINATE]).split())
    assert {signals.name(n).removeprefix("SIG") for n in range(1, 32) if signals.is_fatal(n)} == fatal


@given(st.sets(st.integers(1, 64)))
def test_a_mask_holds_the_signals_it_was_made_of(signos):
    mask = sum(1 << (signo - 1) for signo in signos)
    assert signals.mask_signals(mask) == sorted(signos)
    assert {n for n in range(1, 65) if signals.in_mask(mask, n)} == signos


def test_the_mask_of_proc_has_bit_0_for_signal_1():
    assert signals.mask_signals(0x0000000000010002) == [signals.SIGINT, signals.SIGCHLD]
