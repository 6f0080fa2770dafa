"""Who sent a signal."""

import dataclasses

import pytest

from sigtrace.detectors.senders import role_of, same_sender
from sigtrace.model.event import Info, Task
from sigtrace.model.finding import SenderRole
from sigtrace.model.workload import WorkloadKind
from tests.unit.detectors.events import BASH, RUNC, RUNC_AGAIN, Container

BOX, OTHER = Container(1), Container(2)


def named(comm):
    return Task(77, 7, comm)


@pytest.mark.parametrize(
    ("comm", "role"),
    [
        *((c, SenderRole.RUNTIME) for c in ("runc", "crun", "runc:[2:INIT]", "containerd-shim", "conmon", "dockerd")),
        ("containerd-shim-runc-v2"[:15], SenderRole.RUNTIME),
        ("kubelet", SenderRole.KUBELET),
        ("systemd", SenderRole.SYSTEMD),
        *((c, SenderRole.SHELL) for c in ("bash", "sh", "kill", "pkill", "zsh")),
        ("python3", SenderRole.UNKNOWN),
        ("runcible", SenderRole.UNKNOWN),
        ("", SenderRole.UNKNOWN),
    ],
)
def test_a_sender_outside_is_known_by_its_name(comm, role):
    assert role_of(BOX.term(0, sender=named(comm))) is role


def test_without_a_sender_it_is_the_kernel_or_nobody_knows():
    assert role_of(BOX.kill(0, None)) is SenderRole.KERNEL
    assert role_of(BOX.kill(0, None, info=Info.REAL)) is SenderRole.UNKNOWN
    assert role_of(BOX.kill(0, None, info=None)) is SenderRole.UNKNOWN


def test_kin_is_known_by_pid_and_start():
    child = BOX.child()
    assert role_of(BOX.term(0, sender=BOX.init, task=child)) is SenderRole.PARENT
    assert role_of(BOX.term(0, sender=child)) is SenderRole.CHILD
    reused = dataclasses.replace(BOX.init, start_ns=12345)
    assert role_of(BOX.term(0, sender=reused, task=child)) is not SenderRole.PARENT


def test_neighbours_are_known_by_their_container():
    sibling = dataclasses.replace(BOX.child(2), parent_pid=1)
    assert role_of(BOX.term(0, sender=sibling)) is SenderRole.SAME_CONTAINER
    other = dataclasses.replace(
        BOX.term(0, sender=dataclasses.replace(OTHER.child(), parent_pid=1)), sender_workload=OTHER.workload
    )
    assert role_of(other) is SenderRole.OTHER_CONTAINER
    unit = dataclasses.replace(OTHER.workload, kind=WorkloadKind.UNIT)
    assert role_of(dataclasses.replace(other, sender_workload=unit)) is SenderRole.UNKNOWN


def test_one_sender_is_one_process_and_no_sender_is_no_one():
    assert same_sender(BOX.term(0, RUNC).event, BOX.kill(1, RUNC).event)
    assert not same_sender(BOX.term(0, RUNC).event, BOX.kill(1, RUNC_AGAIN).event)
    assert not same_sender(BOX.term(0, BASH).event, BOX.kill(1, None).event)
    assert not same_sender(BOX.term(0, None).event, BOX.kill(1, None).event)
