"""Is PID 1 a shell in front of the program?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigtrace.detectors.shell import is_shell_form, script_of, shell_command


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        ("sh|-c|app", "app"),
        ("/bin/sh|-c|app --flag", "app --flag"),
        ("/bin/bash|-c|app|name", "app"),
        ("bash|-ec|app", "app"),
        ("bash|-e|-c|app", "app"),
        ("bash|-eo|pipefail|-c|app", "app"),
        ("bash|-euxo|pipefail|-c|app", "app"),
        ("dash|+x|-c|app", "app"),
        ("-sh|-c|app", "app"),  # a login shell
        ("busybox|sh|-c|app", "app"),
        ("/usr/bin/zsh|-lc|app", "app"),
        ("ash|-c|", ""),
        ("sh|-c", ""),
    ],
)
def test_a_shell_form_and_its_command(argv, command):
    words = argv.split("|")
    assert is_shell_form(words)
    assert shell_command(words) == command
    assert script_of(words) is None


@pytest.mark.parametrize(
    ("argv", "script"),
    [
        ("/bin/sh|/entrypoint.sh", "/entrypoint.sh"),
        ("bash|-e|/docker-entrypoint.sh|postgres", "/docker-entrypoint.sh"),
        ("sh|run.sh|-c|conf", "run.sh"),
        ("/bin/busybox|ash|start", "start"),
    ],
)
def test_a_script_and_its_name(argv, script):
    words = argv.split("|")
    assert not is_shell_form(words)
    assert script_of(words) == script


@pytest.mark.parametrize(
    "argv",
    ["", "sh", "bash|-i", "busybox", "busybox|httpd|-f", "app|-c|x", "python3|-c|x", "/sh/app|-c|y", "fish|-c|x"],
)
def test_what_is_neither(argv):
    words = [w for w in argv.split("|") if w]
    assert not is_shell_form(words)
    assert script_of(words) is None
    assert shell_command(words) == ""


@pytest.mark.parametrize("argv", ["bash|-o|errexit|-c|app", "bash|-eo|nounset|-c|app", "bash|--rcfile|/etc/rc|-c|app"])
def test_an_options_own_word_is_no_script(argv):
    assert is_shell_form(argv.split("|"))


def test_pipefail_is_no_script():
    assert script_of(["bash", "-o", "pipefail", "/run.sh"]) == "/run.sh"


WORDS = st.lists(st.sampled_from(["sh", "/bin/bash", "busybox", "-c", "-e", "pipefail", "run.sh", "", "-"]) | st.text())


@given(WORDS)
def test_no_argv_is_both_and_none_raises(argv):
    assert not (is_shell_form(argv) and script_of(argv) is not None)
    assert shell_command(argv) == "" or shell_command(argv) in argv
