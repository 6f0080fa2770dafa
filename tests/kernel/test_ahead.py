"""Programs that are loaded ahead, beside the imports: whoever opens a source of the same options gets them."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from sigtrace.errors import HostError
from sigtrace.sources import ahead
from sigtrace.sources._libbpf import LibbpfError, Object
from sigtrace.sources.bpf import BpfSource
from sigtrace.sources.options import BpfOptions

SMALL = BpfOptions(events_bytes=1 << 16, lives_bytes=1 << 16)
OTHER = BpfOptions(events_bytes=1 << 17, lives_bytes=1 << 16)


@pytest.fixture(autouse=True)
def _host(bpf_host):
    """Needs a host where BPF works."""


@pytest.fixture
def loads(monkeypatch):
    """Loads that were asked for the ordinary way."""
    asked = []
    load = Object.load
    monkeypatch.setattr(Object, "load", lambda self: (asked.append(self), load(self)))
    return asked


def bpf_descriptors():
    links = [os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if os.path.lexists(fd)]
    return sorted(link for link in links if "bpf" in link)


def pids(source):
    return {event.task.pid for event in source.snapshot() if event.task}


@pytest.mark.parametrize("backend", ["auto", "bpf"])
def test_a_source_opens_with_what_was_loaded_ahead(loads, backend):
    with ahead.loading(backend, SMALL), closing(BpfSource(SMALL)) as source:
        source.open()
        assert loads == []
        assert os.getpid() in pids(source)


def test_a_second_source_loads_its_own(loads):
    with ahead.loading("bpf", SMALL), closing(BpfSource(SMALL)) as first, closing(BpfSource(SMALL)) as second:
        first.open()
        second.open()
        assert len(loads) == 1
        first.close()
        assert os.getpid() in pids(second)


def test_a_source_of_other_options_loads_its_own(loads):
    with ahead.loading("bpf", OTHER), closing(BpfSource(SMALL)) as source:
        source.open()
        assert len(loads) == 1


@pytest.mark.parametrize(("backend", "options"), [("ptrace", SMALL), ("bcc", SMALL), ("auto", BpfOptions(pin="/x"))])
def test_nothing_is_loaded_ahead_for_other_backends_and_for_pins(backend, options):
    before = bpf_descriptors()
    with ahead.loading(backend, options):
        assert bpf_descriptors() == before


@pytest.mark.parametrize("opens", [True, False])
def test_nothing_is_left_of_it(opens):
    before = bpf_descriptors()
    with ahead.loading("bpf", SMALL), closing(BpfSource(SMALL)) as source:
        if opens:
            source.open()
    assert bpf_descriptors() == before


def test_nothing_is_left_of_it_where_the_body_fails():
    before = bpf_descriptors()
    with pytest.raises(KeyboardInterrupt), ahead.loading("bpf", SMALL):
        raise KeyboardInterrupt
    assert bpf_descriptors() == before


def test_what_could_not_be_loaded_ahead_is_loaded_again_and_told_by_whoever_opens(monkeypatch, loads):
    def refuse(_self):
        raise LibbpfError(1, "bpf_object__load", "the verifier's words")

    before = bpf_descriptors()
    monkeypatch.setattr(Object, "load_silently", lambda _: False)
    with ahead.loading("bpf", SMALL), closing(BpfSource(SMALL)) as source:
        source.open()
        assert len(loads) == 1
    monkeypatch.setattr(Object, "load", refuse)
    with ahead.loading("bpf", SMALL), pytest.raises(HostError, match=r"cannot load sigtrace\.bpf\.o") as told:
        BpfSource(SMALL).open()
    assert "the verifier's words" in told.value.detail
    assert bpf_descriptors() == before


def test_libbpf_speaks_again_once_it_has_loaded_in_silence():
    with ahead.loading("bpf", SMALL), closing(BpfSource(SMALL)) as source:
        source.open()
        bpf = source._loaded.object
        bpf._library.take_log()
        with pytest.raises(LibbpfError) as told:
            bpf.load()  # it is loaded already
    assert "load can't be attempted twice" in told.value.log
