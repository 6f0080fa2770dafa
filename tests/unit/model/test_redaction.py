"""What leaves the node hides what command lines hide, and still tells what a verdict rests on."""

import dataclasses
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigtrace.detectors.shell import is_shell_form, script_of
from sigtrace.detectors.words import what_of
from sigtrace.model.event import Event, Kind, Task
from sigtrace.model.finding import Finding, ProcessEnd, Shutdown
from sigtrace.model.record import verdict_record
from sigtrace.model.redaction import quoted_in_messages, redacted, redacted_argv
from sigtrace.model.workload import PreStop, PreStopKind
from sigtrace.service.verdicts import VerdictEncoder
from tests.unit.service.conftest import BOX, finding, recorded, shutdown


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        ("gunicorn -w 4 app:app", "gunicorn -w 4 …"),
        ("gunicorn --workers=4 --bind 10.0.0.1:80 --preload", "gunicorn --workers=4 … --preload"),
        ("gunicorn --workers hunter2 --timeout 30s", "gunicorn --workers … --timeout 30s"),
        ("app --port 8080 --token 8080", "app --port 8080 …"),
        ("app --token start run", "app … run"),
        ("mysqld -uroot -phunter2", "mysqld …"),
        ("mysqld -u root -p hunter2", "mysqld -u … -p …"),
        ("/usr/bin/python3.11 -u manage.py runserver 0.0.0.0:80", "/usr/bin/python3.11 -u manage.py runserver …"),
        ("python3 -m gunicorn -w 2 app", "python3 -m gunicorn -w 2 …"),
        ("node --require hunter2 server.js", "node …"),
        ("java -Xmx1g -Dpassword=hunter2 -jar /app.jar --x", "java … -jar /app.jar …"),
        ("tini -g -- app --secret x", "tini -g -- app …"),
        ("env DB=hunter2 app -w 1", "env … app -w 1"),
        ("timeout -k 5 10 sh /run.sh hunter2", "timeout -k 5 10 sh /run.sh …"),
        ("sleep infinity", "sleep infinity"),
        ("sleep 0.5", "sleep 0.5"),
        ("redis-server *:6379", "redis-server …"),
        ("busybox sh /run.sh", "busybox sh /run.sh"),
    ],
)
def test_a_program_and_harmless_words_are_shown_and_nothing_else(argv, shown):
    assert " ".join(redacted_argv(tuple(argv.split()))) == shown


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("gunicorn -w 1 --password=x", "gunicorn -w 1 …"),
        ("exec DB=hunter2 /app/run -w 1", "exec … /app/run -w 1"),
        ("DB='hunter 2' run -w 1", "…"),
        ("DB=hunter\\ 2 run", "…"),
        ("env A='hunter 2' run", "env …"),
        ("cd /srv/hunter2 && run", "cd …"),
        ("'hunter2 x' y", "…"),
        ("", ""),
    ],
)
def test_of_a_shell_form_the_program_is_shown(command, shown):
    assert redacted_argv(("sh", "-c", command)) == ("sh", "-c", shown)


@pytest.mark.parametrize("options", [("-c",), ("-ec",), ("-e", "-c"), ("-eo", "pipefail", "-c"), ("-x", "-u", "-c")])
def test_a_shell_form_is_one_still(options):
    argv = redacted_argv(("/bin/bash", *options, "gunicorn --password hunter2", "hunter2"))
    assert is_shell_form(argv)
    assert "gunicorn" in " ".join(argv)
    assert "hunter2" not in " ".join(argv)


def test_a_script_is_one_still():
    assert script_of(redacted_argv(("/bin/sh", "/docker-entrypoint.sh", "hunter2"))) == "/docker-entrypoint.sh"


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("nginx: master process /usr/sbin/nginx -g daemon off;", "nginx: master process …"),
        ("postgres: walwriter", "postgres: walwriter"),
        ("postgres: alice customers 10.0.0.1(4711) idle", "postgres: …"),
        ("app --password=hunter2", "app …"),
        ("https://u:hunter2@host/", "https…"),
        ("PASSWORD=hunter2", "PASSWORD…"),
        ("/usr/sbin/nginx", "/usr/sbin/nginx"),
        ("-bash", "-bash"),
        ("(sd-pam)", "(sd-pam)"),
        ("x86_64-linux-gnu-g++", "x86_64-linux-gnu-g++"),
        ("PGPASSWORD=hunter2 psql -U alice", "PGPASSWORD…"),
        ("postgres: alice hunter2", "postgres: …"),
        ("alice:hunter2@db", "…"),
        ("hunter2@db", "…"),
        ("A=hunter2@db", "A…"),
        ("app:hunter2", "app…"),
        ("app[hunter2]", "app…"),
        ("app;hunter2", "app…"),
        ("python app.py --password hunter2", "python …"),
        ("/" * 100 + "app", "/" * 100 + "app"),
        ("eyJhbGciOiJIUzI1NiJ9." * 5, "…"),
        ("k" * 65 + "=1", "…"),
        ("", ""),
    ],
)
def test_what_a_program_wrote_over_its_arguments_is_cut_to_what_is_known(title, shown):
    assert redacted_argv((title,)) == (shown,)


# ---- whole records

#: Nothing harmless looks like it, whatever is added on either side.
SECRET = "Hunter2Hunter2"
SHAPES = st.sampled_from(
    ["{}", "--password={}", "-p{}", "{}=1", "A={}", "http://{}@h/", "'{}", "{}'", "a {}", "{} b", "-{}", "--{}",
     "$({})", "`{}`", "\\ {}", "-c{}", "{};", "&& {}", "x | {}", "exec A='x {}' y", "-o {}", "\n{}", "{}.conf --{}"]
).map(lambda shape: shape.replace("{}", SECRET))  # fmt: skip
HARMLESS = st.sampled_from(
    "-c -e -o pipefail -w 4 --port 80 -- exec env A=1 -m -jar start -u -g -s TERM -k gthread --workers=4 && ;".split()
)
PROGRAMS = st.sampled_from(
    "sh /bin/bash python3 node java tini timeout env busybox gunicorn /usr/sbin/nginx nohup perl npm dumb-init".split()
)


def _may_be_a_program(argv):
    """The word in a place where a program or a file stands, and looking like one: no secret."""
    words = re.split(r"\s+", " ".join(argv))
    return any(re.fullmatch(r"(?!-)[\w./-]*" + SECRET + r"[\w./-]*", word) for word in words)


ARGVS = st.tuples(PROGRAMS, st.lists(HARMLESS | SHAPES | PROGRAMS, max_size=7)).map(lambda two: (two[0], *two[1]))
QUOTED = ARGVS.filter(lambda argv: not _may_be_a_program(argv))


@settings(max_examples=1500, deadline=None)
@given(QUOTED)
def test_no_word_that_is_not_known_to_be_harmless_survives(argv):
    assert SECRET not in " ".join(redacted_argv(argv))


@settings(max_examples=500, deadline=None)
@given(st.lists(HARMLESS | SHAPES, max_size=7))
def test_of_a_program_that_runs_no_other_not_even_a_plain_word_survives(rest):
    for program in ("/usr/bin/gunicorn", "redis-server"):
        assert SECRET not in " ".join(redacted_argv((program, *rest)))


@settings(max_examples=500, deadline=None)
@given(st.lists(st.text(max_size=12), max_size=6).map(tuple))
def test_what_is_shown_was_there_and_redacting_it_again_changes_nothing(argv):
    shown = redacted_argv(argv)
    assert redacted_argv(shown) == shown
    for word in shown[1:]:
        assert all(part in {"…", *" ".join(argv).split()} for part in word.split())


@settings(max_examples=300, deadline=None)
@given(argv=QUOTED, other=QUOTED)
def test_no_secret_survives_anywhere_in_a_verdict(argv, other):
    main, worker = Task(1, 1, "a", argv=argv), Task(2, 2, "b", argv=other)
    event = Event(1, 1, Kind.SIGNAL_GENERATE, main, worker, signo=15, parent=worker)
    box = dataclasses.replace(BOX, pre_stop=PreStop(PreStopKind.EXEC, other))
    found = finding(
        subject=main, parent=worker, origin=worker, evidence=(event,), workload=box,
        message=f"{what_of(main)} got SIGTERM; PID 1 ({what_of(worker)}) does not wait",
    )  # fmt: skip
    ended = shutdown(
        main=main, first_victim=worker, origin=main, evidence=(event,), processes=(ProcessEnd(worker),), workload=box
    )
    for verdict in (found, ended):
        hidden = redacted(verdict)
        assert SECRET not in repr(hidden)
        assert SECRET not in json.dumps(verdict_record(hidden))
        assert SECRET.encode() not in VerdictEncoder().json(hidden)
        assert type(hidden) is type(verdict)


def test_a_message_says_the_same_with_the_command_line_redacted():
    main = Task(1, 1, "sh", argv=("/bin/sh", "-c", "gunicorn -w 1 --password=hunter2"))
    hidden = redacted(finding(subject=main, message=f"{what_of(main)} got SIGTERM and did not pass it on"))
    assert hidden.message == 'sh -c "gunicorn -w 1 …" got SIGTERM and did not pass it on'


def test_messages_quote_a_command_line_as_it_is_looked_for():
    for verdict in recorded():
        for task in filter(None, (getattr(verdict, name, None) for name in ("subject", "parent", "main"))):
            if isinstance(task, Task) and task.argv:
                assert what_of(task) == quoted_in_messages(task.argv)


def test_nothing_else_of_the_recorded_verdicts_is_changed():
    def bare(value):
        """Without command lines and the texts that quote them."""
        if isinstance(value, dict):
            return {k: bare(v) for k, v in value.items() if k not in {"argv", "message"}}
        return [bare(one) for one in value] if isinstance(value, list) else value

    for verdict in recorded():
        assert bare(verdict_record(redacted(verdict))) == bare(verdict_record(verdict))


def test_no_message_of_the_recorded_verdicts_quotes_what_is_hidden():
    quoting = 0
    for verdict in recorded():
        tasks = _tasks(verdict)
        hidden = {quoted_in_messages(t.argv) for t in tasks if t.argv and redacted_argv(t.argv) != t.argv}
        if isinstance(verdict, Finding):
            quoting += any(text in verdict.message for text in hidden)
            assert not any(text in redacted(verdict).message for text in hidden)
    assert quoting >= 5


def _tasks(verdict):
    if isinstance(verdict, Shutdown):
        return [verdict.main, *(p.task for p in verdict.processes)]
    return [t for t in (verdict.subject, verdict.parent, verdict.origin) if t]


def test_no_value_but_a_command_line_is_built_anew():
    plain = finding(subject=Task(1, 1, "app"), evidence=())
    assert redacted(plain) is plain
    assert redacted(None) is None
