"""The command line as a whole: exit statuses, one clear line for each error, options from files and variables."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sigtrace import __version__
from sigtrace.cli import main as cli_main
from sigtrace.cli import options
from sigtrace.errors import HostError, RunError

ROOT = Path(__file__).parents[3]
#: For a command that should end at once.
PATIENCE_S = 30


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """No settings of whoever runs the tests, and their signal handlers back afterwards."""
    for name in [name for name in os.environ if name.startswith("SIGTRACE_")]:
        monkeypatch.delenv(name)
    handlers = {signo: signal.getsignal(signo) for signo in (signal.SIGINT, signal.SIGTERM)}
    yield
    for signo, handler in handlers.items():
        signal.signal(signo, handler)


@pytest.fixture
def run(capsys):
    """Runs a command line here; returns (status, stdout, stderr)."""

    def call(*args):
        status = cli_main.main(args)
        return (status, *capsys.readouterr())

    return call


@pytest.fixture
def fake(monkeypatch):
    """Adds a command `trace` that does what it is given, with the shared options; returns what it was called with."""
    seen = {}

    def install(action=lambda: None):
        @click.command()
        @click.option("--signal", "-s", "signals", type=options.Signal(), multiple=True)
        @click.option("--all", "everything", is_flag=True)
        @options.output
        @options.backend
        @options.duration
        @options.filters
        @options.fail_on
        def trace(**values):
            seen.clear()
            seen.update(values)
            return action()

        module = types.ModuleType("fake_trace")
        module.trace = trace
        monkeypatch.setitem(sys.modules, "fake_trace", module)
        monkeypatch.setitem(cli_main.COMMANDS, "trace", ("fake_trace:trace", "Fake."))
        return seen

    return install


def sigtrace(*args, **kwargs):
    """The same in a process of its own."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **kwargs.pop("env", {})}
    command = [sys.executable, "-m", "sigtrace.cli.main", *args]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False, **kwargs)


def fails(error):
    def action():
        raise error

    return action


def test_version(run):
    assert run("--version") == (0, f"sigtrace {__version__}\n", "")


def test_help_names_each_command_and_imports_none():
    code = (
        "import sys; from sigtrace.cli.main import main; main(['--help']); "
        "print([m for m in sys.modules if m.startswith('sigtrace.') and m not in "
        "{'sigtrace.cli', 'sigtrace.cli.main', 'sigtrace.errors'}])"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    assert all(f"\n  {name} " in out for name in cli_main.COMMANDS)
    assert out.endswith("[]\n")
    assert max(map(len, out.splitlines()[:-1])) <= 80


def test_no_arguments_is_wrong_usage_and_shows_the_help(run):
    status, out, err = run()
    assert (status, out) == (2, "")
    assert "Commands:" in err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["expain", "137"], ["no command 'expain'; did you mean explain?", "sigtrace --help"]),
        (["zzz"], ["commands are demo, trace"]),
        (["--nope"], ["No such option", "--nope"]),
        (["explain"], ["Missing argument", "sigtrace explain --help"]),
        (["trace", "--duration", "-1"], ["-1 is not a positive number of seconds", "sigtrace trace --help"]),
        (["trace", "--duration", "0"], ["0 is not a positive"]),
        (["trace", "--duration", "nan"], ["nan is not a positive"]),
        (["trace", "--duration", "inf"], ["inf s is too long"]),
        (["trace", "--duration", "5m"], ["'5m' is not a number of seconds"]),
        (["trace", "-s", "SIGTREM"], ["'SIGTREM' is not a signal; did you mean SIGTERM"]),
        (["trace", "-s", "99"], ["'99' is not a signal"]),
        (["trace", "-s", "SIGTERM\x1b[31m"], ["is not a signal"]),
        (["trace", "-o", "yaml"], ["'yaml' is not one of 'text', 'json'"]),
        (["trace", "--backend", "dtrace"], ["'dtrace' is not one of"]),
        (["trace", "--fail-on", "fatal"], ["'fatal' is not one of"]),
        (["trace", "extra"], ["extra"]),
    ],
)
def test_wrong_usage_is_one_line_and_2(run, fake, args, words):
    fake()
    status, out, err = run(*args)
    assert (status, out) == (2, "")
    assert err.startswith("sigtrace: ")
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert [word for word in words if word not in err] == []


def test_what_a_command_returns_is_the_exit_status(run, fake):
    fake(lambda: 1)
    assert run("trace")[0] == 1
    fake(lambda: None)
    assert run("trace")[0] == 0
    fake(fails(click.exceptions.Exit(5)))
    assert run("trace")[0] == 5


def test_an_error_is_one_line_with_its_own_exit_status(run, fake):
    fake(fails(HostError("cannot load x: EPERM", next_step="use sudo", detail="line 1\nline \x1b2\n")))
    assert run("trace") == (3, "", "sigtrace: cannot load x: EPERM: use sudo\n")
    fake(fails(RunError("a ring\nbroke")))
    assert run("trace") == (4, "", "sigtrace: a ring broke\n")


@pytest.mark.parametrize("args", [["--verbose", "trace"], ["trace", "--verbose"]])
def test_verbose_shows_the_log_of_an_error(run, fake, args):
    fake(fails(HostError("cannot load x", detail="line 1\nline \x1b2\n")))
    assert run(*args) == (3, "", "sigtrace: cannot load x\nline 1\nline \\x1b2\n")


def test_a_bug_is_one_line_and_4_and_its_traceback_is_there_when_asked_for(run, fake, monkeypatch):
    fake(fails(KeyError("oh")))
    status, out, err = run("trace")
    assert (status, out) == (4, "")
    assert err.startswith("sigtrace: KeyError: 'oh': this is a bug in sigtrace")
    assert err.count("\n") == 1
    monkeypatch.setenv("SIGTRACE_DEBUG", "1")
    assert "Traceback" in run("trace")[2]
    monkeypatch.setenv("SIGTRACE_DEBUG", "0")
    assert "Traceback" not in run("trace")[2]


def test_an_interrupt_ends_a_command_with_0(run, fake):
    fake(fails(KeyboardInterrupt()))
    assert run("trace") == (0, "", "")


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM])
def test_stop_signals_end_a_real_process_with_0_and_a_second_one_need_not_wait(signo):
    code = (
        "import sys, time, types, click\nfrom sigtrace.cli import main as m\n"
        "@click.command()\ndef c():\n    print('ready', flush=True)\n    time.sleep(30)\n"
        "sys.modules['f'] = types.SimpleNamespace(c=c)\nm.COMMANDS['c'] = ('f:c', '')\nsys.exit(m.main(['c']))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signo)
        assert child.wait(10) == 0
        assert child.stderr.read() == ""


def test_an_interrupt_while_it_is_imported_ends_it_quietly():
    # The first thing that is imported behind the entry point is one that waits for us.
    code = (
        "import sys, types\nfrom sigtrace import __main__ as entry\n"
        "class Late:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'sigtrace.cli.main':\n"
        "            print('importing', flush=True)\n"
        "            sys.stdin.read()\n"
        "sys.meta_path.insert(0, Late())\nsys.exit(entry.main())"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "importing\n"
        child.send_signal(signal.SIGINT)
        assert (child.wait(PATIENCE_S), child.stderr.read()) == (0, "")


def test_whoever_starts_it_with_sigint_ignored_keeps_it_so():
    code = "import signal, sys\nfrom sigtrace.__main__ import main\nsys.argv[1:] = ['explain', '1']\nmain()\n"
    code += "print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    command = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert ran.stdout.splitlines()[-1:] == ["True"], ran.stderr


def test_a_reader_that_goes_away_ends_it_quietly():
    # Larger than any pipe, so that it is cut off in the middle of writing.
    out = subprocess.run(
        f"{{ {sys.executable} -m sigtrace.cli.main explain $(yes killed | head -n 200); echo $? >&2; }} | head -n 1",
        shell=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (out.stdout, out.stderr) == ("finding killed\n", "0\n")


def test_a_stdout_that_was_closed_at_the_start_is_no_error():
    command = f"{sys.executable} -m sigtrace.cli.main explain 137 >&-"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, shell=True, env=env, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_is_an_error_of_ours():
    with Path("/dev/full").open("w") as full:
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "sigtrace.cli.main", "explain", "137"]
        done = subprocess.run(command, env=env, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr == "sigtrace: cannot write to standard output: No space left on device\n"


def test_some_other_broken_pipe_is_not_taken_for_a_reader_that_left(run, fake):
    fake(fails(BrokenPipeError(32, "Broken pipe")))
    assert run("trace")[0] == 4


def test_a_locale_without_unicode_is_no_error():
    done = sigtrace("explain", "signal-dropped", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert (done.returncode, done.stderr) == (0, "")


def test_arguments_that_are_not_utf8_are_no_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "sigtrace.cli.main", "explain", b"\xff\x1b[31m"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"\x1b" not in done.stderr


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(max_size=12) | st.sampled_from(["--", "-o", "--config", "explain", "doctor", "-9", "--verbose"]))
)
def test_no_rubbish_ends_in_a_traceback_or_as_a_bug(capsys, monkeypatch, args):
    monkeypatch.setitem(cli_main.COMMANDS, "doctor", cli_main.COMMANDS["explain"])  # doctor would load BPF programs
    with contextlib.chdir("/"):
        assert cli_main.main(args) in {0, 2}
    assert "Traceback" not in capsys.readouterr().err


def test_start_up_is_light():
    code = "import sys; from sigtrace.cli.main import main; main(['--version']); print(*sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"psutil", "asyncio", "tomllib", "json", "ctypes", "sigtrace.model", "sigtrace.sources"}
    started = time.monotonic()
    sigtrace("--version")
    assert time.monotonic() - started < 2


# ---- options from variables and files


def test_each_option_can_be_a_variable_and_the_command_line_wins(run, fake, monkeypatch):
    seen = fake()
    monkeypatch.setenv("SIGTRACE_DURATION", "2.5")
    monkeypatch.setenv("SIGTRACE_TRACE_OUTPUT", "json")
    monkeypatch.setenv("SIGTRACE_OUTPUT", "text")
    monkeypatch.setenv("SIGTRACE_SIGNAL", "term 9")
    assert run("trace", "--pod", "a")[0] == 0
    assert (seen["duration"], seen["output"], seen["pod"], seen["signals"]) == (2.5, "json", "a", (15, 9))
    run("trace", "--duration", "1", "-s", "hup")
    assert (seen["duration"], seen["signals"]) == (1.0, (1,))


def test_a_wrong_variable_is_named(run, fake, monkeypatch):
    fake()
    monkeypatch.setenv("SIGTRACE_DURATION", "-3")
    status, _, err = run("trace")
    assert status == 2
    assert "-3 is not a positive number of seconds (from SIGTRACE_DURATION)" in err


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "sigtrace.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


CONFIG = """
duration = 7
pod = "top"
[trace]
fail-on = "error"
pod = "own"
signal = ["term", 9]
all = true
[watch]
whatever = 1
"""


@pytest.mark.parametrize("place", ["before", "after", "variable"])
def test_a_file_gives_defaults_by_command(run, fake, config, monkeypatch, place):
    seen = fake()
    path = config(CONFIG)
    args = {"before": ["--config", path, "trace"], "after": ["trace", "--config", path], "variable": ["trace"]}[place]
    if place == "variable":
        monkeypatch.setenv("SIGTRACE_CONFIG", path)
    assert run(*args) == (0, "", "")
    assert (seen["duration"], seen["pod"], seen["fail_on"]) == (7.0, "own", "error")
    assert (seen["signals"], seen["everything"], seen["output"]) == ((15, 9), True, "text")


def test_variables_win_over_the_file_and_the_command_line_over_both(run, fake, config, monkeypatch):
    seen = fake()
    path = config('duration = 7\npod = "file"\nnamespace = "file"\n')
    monkeypatch.setenv("SIGTRACE_POD", "variable")
    monkeypatch.setenv("SIGTRACE_DURATION", "8")
    run("--config", path, "trace", "--duration", "9")
    assert (seen["duration"], seen["pod"], seen["namespace"]) == (9.0, "variable", "file")


def test_what_other_commands_take_may_stand_at_the_top(run, config):
    assert run("--config", config("duration = 7\n"), "explain", "1")[0] == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("duration = -1", ["duration = -1: -1 is not a positive"]),
        ("[trace]\nduration = true", ["[trace] duration = True"]),
        ("duration = [1]", ["duration = [1]"]),
        ("pod = 5", ["pod = 5: is not a string"]),
        ("output = 'yaml'", ["'yaml' is not one of"]),
        ("[trace]\nall = 'yes'", ["is not true or false"]),
        ("[trace]\nsignal = ['term', 'trem']", ["'trem' is not a signal; did you mean SIGTERM"]),
        ("duratoin = 1", ["duratoin is no option", "did you mean duration?"]),
        ("[trace]\nzzz = 1", ["[trace] zzz is no option", "known are "]),
        ("[trace]\nfail-on = 'info'\nfail_on = 'error'", ["given twice"]),
        ("[trce]\npod = 'x'", ["[trce] is no command", "did you mean [trace]?"]),
        ("[trace.more]\npod = 'x'", ["[trace] more is no option"]),
        ("trace = 1", ["trace is a command", "[trace]"]),
        ("duration =", ["not TOML"]),
        ("a = " + "[" * 5000, ["not TOML"]),
        (b"\xff", ["not UTF-8"]),
        (b"pod = 'a\x1b'", ["not TOML"]),
        (b"#" * (1 << 20) + b"#", ["larger than 1 MiB"]),
    ],
)
def test_a_broken_file_is_one_line_that_names_it_and_2(run, fake, config, text, words):
    fake()
    path = config(text)
    status, out, err = run("--config", path, "trace")
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert [word for word in [path, *words] if word not in err] == []


@pytest.mark.parametrize(
    ("path", "reason"), [("/nowhere/x.toml", "No such file"), ("/", "Is a directory"), ("a\0b", "null")]
)
def test_a_file_that_cannot_be_read_is_named(run, path, reason):
    status, _, err = run("--config", path, "explain", "1")
    assert status == 2
    assert err.startswith("sigtrace: cannot read the configuration ")
    assert reason in err


def test_a_named_pipe_is_no_configuration_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    command = [sys.executable, "-m", "sigtrace", "--config", str(tmp_path / "pipe"), "explain", "1"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "it is a named pipe" in ran.stderr


def test_a_configuration_comes_through_a_pipe_that_somebody_writes_to():
    command = [sys.executable, "-m", "sigtrace", "--config", "/dev/stdin", "explain", "signal-dropped"]
    ran = subprocess.run(command, input=b'output = "json"\n', capture_output=True, check=False, timeout=PATIENCE_S)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert json.loads(ran.stdout)["what"] == "signal-dropped"


def test_an_interrupt_while_a_dataclass_is_imported_ends_with_0_too():
    """Its code is text that goes through exec, and CPython remembers: it ended by SIGINT whatever our status was."""
    code = (
        "import sys; from sigtrace.cli import main; main._invoke = lambda _: exec('raise KeyboardInterrupt'); "
        "sys.exit(main.main([]))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=PATIENCE_S)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


def test_an_empty_command_after_two_dashes_is_not_the_whole_node(run):
    """`trace -- $PROGRAM` with an unset variable."""
    status, out, err = run("trace", "--")
    assert (status, out) == (2, "")
    assert "no command after --" in err
