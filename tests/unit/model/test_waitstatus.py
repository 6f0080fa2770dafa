"""All 65,536 wait statuses, against what the standard library makes of them."""

import os

import pytest

from sigtrace.model.waitstatus import WaitStatus


def test_every_raw_status_means_what_wait_says():
    for raw in range(0x10000):
        status = WaitStatus(raw)
        if raw & 0x7F == 0x7F:
            continue  # stopped or continued: no end, os.waitstatus_to_exitcode refuses it
        expected = os.waitstatus_to_exitcode(raw)
        if expected < 0:
            assert (status.signal, status.exit_code, status.code) == (-expected, None, 128 - expected), hex(raw)
        else:
            assert (status.signal, status.exit_code, status.code) == (None, expected, expected), hex(raw)
        assert status.core_dumped == (os.WIFSIGNALED(raw) and os.WCOREDUMP(raw)), hex(raw)


def test_every_raw_status_has_exactly_one_end_and_a_text():
    for raw in range(0x10000):
        status = WaitStatus(raw)
        assert (status.signal is None) != (status.exit_code is None), hex(raw)
        (key,) = status.as_record()
        assert key == ("exited" if status.signal is None else "signaled"), hex(raw)
        assert str(status).startswith(f"exit {status.code}"), hex(raw)


@pytest.mark.parametrize(
    ("raw", "text", "record"),
    [
        (0, "exit 0", {"exited": 0}),
        (137 << 8, "exit 137", {"exited": 137}),
        (9, "exit 137 = 128 + SIGKILL", {"signaled": "SIGKILL"}),
        (11 | 0x80, "exit 139 = 128 + SIGSEGV, core dumped", {"signaled": "SIGSEGV"}),
        (35, "exit 163 = 128 + SIGRTMIN+1", {"signaled": "SIGRTMIN+1"}),
    ],
)
def test_a_status_reads_as_a_person_would_say_it(raw, text, record):
    assert str(WaitStatus(raw)) == text
    assert WaitStatus(raw).as_record() == record


def test_the_core_flag_without_a_signal_is_no_core():
    assert not WaitStatus(0x80).core_dumped
