"""The agent's socket over a real unix socket: what readers get, and what they can't do."""

import contextlib
import dataclasses
import json
import os
import socket
import stat
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigtrace.audit.rows import Audit
from sigtrace.errors import HostError, RunError
from sigtrace.model.recording.values import Encoder
from sigtrace.service import follow
from sigtrace.service.client import AgentGoneError, Link, NoAgentError, Reconnecting, is_there, status
from sigtrace.service.protocol import REQUEST_MAX, TOPICS, hello_of, request_of
from sigtrace.service.server import READERS_MAX
from sigtrace.sinks.chosen import Tally
from tests.unit.model.test_recording import of_type
from tests.unit.service.conftest import NOW_NS, Service, finding, recorded, shutdown


def kept(service, since_ns=0):
    with follow.Verdicts(service.path, since_ns=since_ns) as verdicts:
        return list(verdicts)


@contextlib.contextmanager
def raw(service):
    """A connection that says what it likes."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(service.path)
        with sock.makefile("rwb") as file:
            yield sock, file


def until_kept(service, wait_until, count):
    wait_until(lambda: status(service.path).kept == count, what=f"{count} verdicts to be kept")


# ---- verdicts


def test_a_reader_gets_the_verdicts_that_are_kept_as_they_were_made(serve, wait_until):
    service, verdicts = serve(), recorded()
    service.offer(*verdicts)
    until_kept(service, wait_until, len(verdicts))
    assert kept(service) == list(verdicts)


def test_a_reader_of_an_agent_that_has_seen_nothing_gets_nothing_and_the_end(serve):
    assert kept(serve()) == []


def test_a_reader_gets_none_that_is_older_than_it_asks_for(serve, wait_until):
    service = serve()
    service.offer(finding(1), finding(2), finding(3))
    until_kept(service, wait_until, 3)
    assert [v.time_ns for v in kept(service, since_ns=NOW_NS + 2)] == [2, 3]


def test_a_reader_that_follows_gets_those_to_come_and_none_before(serve, wait_until):
    service = serve()
    service.offer(finding(1))
    until_kept(service, wait_until, 1)
    with follow.Verdicts(service.path, follow=True) as verdicts:
        service.offer(finding(2), shutdown(3))
        assert verdicts.next(10) == finding(2)
        assert verdicts.next(10) == shutdown(3)
        assert verdicts.next(0) is None
        assert not verdicts.ended


def test_a_reader_can_have_both(serve, wait_until):
    service = serve()
    service.offer(finding(1))
    until_kept(service, wait_until, 1)
    with follow.Verdicts(service.path, since_ns=NOW_NS, follow=True) as verdicts:
        service.offer(finding(2))
        assert [verdicts.next(10).time_ns for _ in range(2)] == [1, 2]


def test_sinks_are_fed_until_it_is_done(serve):
    service, tally, ready = serve(), Tally(keep=True), []

    def begin():
        ready.append(True)
        service.offer(finding(1), shutdown(2))

    follow.verdicts(
        service.path, [tally], done=lambda: len(tally.verdicts) == 2, tell=pytest.fail, ready=begin, follow=True
    )
    assert ready == [True]
    assert tally.verdicts == [finding(1), shutdown(2)]


def test_only_the_last_verdicts_are_kept(serve, wait_until):
    service = serve(room={"room": 3})
    service.offer(*map(finding, range(10)))
    wait_until(lambda: status(service.path).findings == 10)
    assert [v.time_ns for v in kept(service)] == [7, 8, 9]


def test_what_is_kept_is_bounded_in_bytes(serve, wait_until):
    service = serve(room={"room_bytes": 50_000})
    service.offer(*(finding(n, message="x" * 5000) for n in range(30)))
    wait_until(lambda: status(service.path).findings == 30)
    assert 5 <= len(kept(service)) < 10


def test_a_slow_reader_loses_verdicts_is_told_how_many_and_slows_nobody(serve, wait_until):
    service = serve(room={"room": 50})
    with follow.Verdicts(service.path, follow=True) as slow, follow.Verdicts(service.path, follow=True) as quick:
        total = 600
        for n in range(total):
            service.offer(finding(n, message="x" * 5000))
            assert quick.next(10).time_ns == n
        seen = 0
        while seen + slow.lost < total:
            assert slow.next(10) is not None
            seen += 1
        assert slow.lost > 0
        assert seen + slow.lost == total
        assert quick.lost == 0


# ---- status, snapshots, audits


def test_the_status_says_what_was_told_and_what_the_agent_adds(serve, wait_until):
    service = serve(status=lambda s: dataclasses.replace(s, backend="bpf", lost={"ring-full": 2}))
    service.offer(finding(1), shutdown(5))
    until_kept(service, wait_until, 2)
    told = status(service.path)
    assert (told.version, told.pid, told.node, told.backend) == ("1.2", 42, "node", "bpf")
    assert (told.findings, told.shutdowns, told.last_shutdown_wall_ns) == (1, 1, NOW_NS + 5)
    assert told.lost == {"ring-full": 2}


def test_snapshots_are_made_only_while_somebody_reads_them(serve, wait_until):
    made = []

    def snapshot():
        made.append(threading.current_thread().name)
        return json.dumps({"number": len(made)}).encode()

    service = serve(snapshot=snapshot)
    status(service.path)
    assert made == []
    with Link(service.path, "snapshots") as link:
        assert link.frame(10).value == {"number": 1}
        assert link.frame(10).value == {"number": 2}
    assert "service" not in made  # the thread that serves readers is not held up


def test_a_snapshot_that_fails_is_told_to_its_reader(serve):
    def snapshot():
        raise RuntimeError("no counters")

    with Link(serve(snapshot=snapshot).path, "snapshots") as link, pytest.raises(RunError, match="no counters"):
        link.frame(10)


def test_a_snapshot_that_hangs_holds_up_nobody(serve):
    hang = threading.Event()
    try:
        service = serve(snapshot=lambda: hang.wait(60) and b"{}")
        with Link(service.path, "snapshots"):
            assert status(service.path).pid == 42
    finally:
        hang.set()


@settings(max_examples=30, deadline=None)
@given(st.lists(of_type(Audit), max_size=3))
def test_audits_come_back_as_they_were_made(tmp_path_factory, audits):
    service = Service(
        tmp_path_factory.mktemp("audits") / "agent.sock",
        audit=lambda request: [json.dumps(Encoder({}).object(a)).encode() for a in audits if request.signo == 10],
    )
    try:
        assert follow.audits(service.path, signo=10) == audits
    finally:
        service.close()


def test_an_audit_that_fails_is_told_to_who_asked(serve):
    def audit(_request):
        raise HostError("no BPF", next_step="be root")

    with pytest.raises(RunError, match="the audit failed: no BPF: be root"):
        follow.audits(serve(audit=audit).path)


def test_no_more_audits_are_made_at_once_than_it_can(serve, wait_until):
    go, begun = threading.Event(), []

    def audit(_request):
        begun.append(1)
        go.wait(60)
        return []

    service = serve(audit=audit)
    links = [Link(service.path, "audit") for _ in range(4)]
    try:
        wait_until(lambda: len(begun) == 4)
        with pytest.raises(RunError, match="4 audits are being made already"):
            follow.audits(service.path)
    finally:
        go.set()
        for link in links:
            link.close()


# ---- who may read


def test_the_socket_is_for_its_owner_alone(serve, tmp_path):
    service = serve()
    assert stat.S_IMODE(os.stat(service.path).st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["agent.sock"]


def test_no_agent_is_a_host_error_with_what_to_do(tmp_path):
    with pytest.raises(NoAgentError, match=r"no agent runs on this node.*sigtrace agent"):
        Link(str(tmp_path / "none.sock"), "status")
    assert not is_there(str(tmp_path / "none.sock"))


def test_an_agent_that_was_killed_is_no_agent_and_its_socket_is_taken_over(serve, tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "agent.sock"))
        dead.listen()
    with pytest.raises(NoAgentError):
        Link(str(tmp_path / "agent.sock"), "status")
    assert is_there(serve().path)


def test_a_second_one_leaves_the_first_its_socket(serve):
    first = serve()
    with pytest.raises(RunError, match="somebody listens"):
        serve()
    assert is_there(first.path)


def test_a_file_that_is_no_socket_is_left_as_it_is(serve, tmp_path):
    (tmp_path / "agent.sock").write_text("mine")
    with pytest.raises(RunError, match="is no socket"):
        serve()
    assert (tmp_path / "agent.sock").read_text() == "mine"


def test_the_end_of_the_agent_is_told_to_its_readers_and_its_socket_is_gone(serve):
    service = serve()
    with follow.Verdicts(service.path, follow=True) as verdicts:
        service.close()
        with pytest.raises(AgentGoneError, match="has ended"):
            verdicts.next(10)
    assert not os.path.exists(service.path)


def test_an_agent_of_another_protocol_is_told_so(tmp_path):
    with answering(tmp_path, b'{"sigtrace":"9.9","protocol":2}\n') as path, pytest.raises(RunError, match="protocol 2"):
        Link(path, "status")


# ---- hostile readers


@pytest.mark.parametrize(
    "request_",
    [b"GET / HTTP/1.0\n", b"[]\n", b'{"get":"secrets"}\n', b'{"get":1}\n', b"{}\n", b"\xff\xfe\n", b"[" * 4000 + b"\n",
     b'{"get":"verdicts","since_ns":-1}\n', b'{"get":"audit","lasting_s":1e9}\n', b'{"get":"status","signo":99}\n'],
)  # fmt: skip
def test_what_is_no_request_is_answered_with_an_error_and_the_end(serve, request_):
    service = serve()
    with raw(service) as (_, file):
        hello_of(file.readline())
        file.write(request_)
        file.flush()
        assert "error" in json.loads(file.readline())
        assert file.read(1) == b""
    assert is_there(service.path)


def test_a_request_that_is_too_long_is_refused(serve):
    service = serve()
    with raw(service) as (sock, file):
        hello_of(file.readline())
        sock.sendall(b"x" * (REQUEST_MAX + 1))
        assert "more than 4096 bytes" in json.loads(file.readline())["error"]
        assert file.read(1) == b""


def test_a_reader_that_never_says_what_it_wants_is_dropped(serve, monkeypatch):
    monkeypatch.setattr("sigtrace.service.server.HANDSHAKE_S", 0.05)
    with raw(serve()) as (sock, file):
        hello_of(file.readline())
        sock.sendall(b'{"get":')
        assert file.read(1) == b""


def test_a_reader_that_goes_on_talking_is_dropped(serve):
    with raw(serve()) as (sock, file):
        hello_of(file.readline())
        sock.sendall(b'{"get":"verdicts","follow":true}\n')
        assert json.loads(file.readline()) == {"begin": True}
        sock.sendall(b"more")
        assert file.read(1) == b""


def test_so_many_readers_are_served_and_no_more(serve, wait_until):
    service = serve()
    with contextlib.ExitStack() as stack:
        for _ in range(READERS_MAX):
            stack.enter_context(follow.Verdicts(service.path, follow=True))
        with pytest.raises(RunError, match="64 readers are connected already"):
            status(service.path)
        service.offer(finding(1))
    wait_until(lambda: is_there(service.path), what="room for a reader again")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.dictionaries(st.text(max_size=8), st.none() | st.integers() | st.text()).map(
    lambda d: json.dumps(d).encode()))  # fmt: skip
def test_any_line_is_a_request_or_a_value_error(line):
    with contextlib.suppress(ValueError):
        assert request_of(line).get in TOPICS


@settings(max_examples=60, deadline=None)
@given(chunks=st.lists(st.binary(min_size=1, max_size=300), max_size=6))
def test_no_reader_breaks_the_service(chunks, shared_service):
    with contextlib.suppress(OSError), raw(shared_service) as (sock, _):
        for chunk in chunks:
            sock.sendall(chunk)
    assert is_there(shared_service.path)


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory):
    service = Service(tmp_path_factory.mktemp("service") / "agent.sock")
    service.offer(finding(1))
    yield service
    assert service.said == []
    service.close()


# ---- hostile agents


@contextlib.contextmanager
def answering(folder, *chunks):
    """Something at a socket that sends this and then nothing."""
    path = str(folder / f"hostile-{time.monotonic_ns()}.sock")
    end = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve():
            with contextlib.suppress(OSError):
                sock, _ = listener.accept()
                with sock:
                    for chunk in chunks:
                        sock.sendall(chunk)
                    end.wait(30)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield path
        finally:
            end.set()
            with socket.socket(socket.AF_UNIX) as knock, contextlib.suppress(OSError):
                knock.connect(path)
            thread.join()


HELLO = b'{"sigtrace":"1","protocol":1}\n'


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is no sigtrace agent"),
        (b"[]\n", "is no sigtrace agent"),
        (b'{"protocol":1}\n', "is no sigtrace agent"),
        (HELLO + b"[1]\n", "is no sigtrace agent"),
        (HELLO + b'{"lost":null}\n', "is no sigtrace agent"),
        (HELLO + b'{"begin":true}\n{"verdict":[]}\n', "what is no verdict"),
        (HELLO + b'{"error":"\\u001b[31mred"}\n', r"the agent says: \\x1b\[31mred"),
        (HELLO + b"x" * ((8 << 20) + 70_000), "a line without an end"),
    ],
)
def test_an_agent_that_sends_rubbish_is_an_error_in_a_line(tmp_path, sent, said):
    with answering(tmp_path, sent) as path, pytest.raises(RunError, match=said) as raised:
        kept(type("service", (), {"path": path}))
    assert "\x1b" not in str(raised.value)


def test_an_agent_that_says_nothing_is_not_waited_for(tmp_path):
    with answering(tmp_path) as path, pytest.raises(RunError, match="nothing answers"):
        Link(path, "status", timeout_s=0.05)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_whatever_an_agent_sends_a_reader_ends_with_an_error_of_ours(tmp_path_factory, sent):
    folder = tmp_path_factory.mktemp("hostile")
    with answering(folder, HELLO + sent + b"\n") as path, contextlib.suppress(RunError), Link(path, "verdicts") as link:
        while frame := link.frame(0.02):
            assert frame.kind not in {"error", "end"}


# ---- reconnecting


def test_a_reader_waits_for_an_agent_that_is_away_and_goes_on_with_the_next(serve, tmp_path, monkeypatch, wait_until):
    monkeypatch.setattr("sigtrace.service.client._RETRY_S", 0.01)
    with Reconnecting(str(tmp_path / "agent.sock"), "snapshots") as frames:
        assert frames.frame(0.05) is None
        assert "no agent runs" in frames.away
        first = serve(snapshot=lambda: b"1")
        assert wait_until(lambda: frames.frame(0.5)).value == 1
        assert frames.away is None
        first.close()
        wait_until(lambda: frames.frame(0.1) is None and frames.away)
        serve(snapshot=lambda: b"2")
        assert wait_until(lambda: frames.frame(0.5)).value == 2
        assert frames.hello.pid == 42
