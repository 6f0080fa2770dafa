"""A busy and healthy node with a few defects planted at random times: exactly those are told, and nothing else."""

import contextlib
import os
import random
import shutil
import textwrap
import threading
import time

import pytest

from sigtrace.lab.container import Container
from sigtrace.lab.needs import unmet
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.model.finding import Finding, Shutdown
from tests.kernel.bench import Bench, none_wrong

#: They end in none of the findings; what is busy beside them must not either.
HEALTHY = [name for name, one in SCENARIOS.items() if not one.expect.findings and not unmet(one.needs)]
DEFECTS = [name for name, one in SCENARIOS.items() if one.expect.findings and not unmet(one.needs)]

#: The loop ends once the command in front has: nothing is left behind.
LEAVES = "trap asked=1 TERM\n"

#: name → (argv, files, whether it is in the host's PID namespace). Each handles SIGTERM, or is under an init.
BUSY = {
    "churn": (
        ("tini", "--", "sh", "churn.sh"),
        {"churn.sh": LEAVES + 'while [ -z "$asked" ]; do /bin/true; done\n'},
        False,
    ),
    "compile": (
        ("tini", "--", "sh", "compile.sh"),
        {
            "x.c": '#include <stdio.h>\nint main(void) { return puts("x"); }\n',
            "compile.sh": LEAVES
            + 'while [ -z "$asked" ]; do cc -O2 -o x x.c; ./x >/dev/null; cc -c nothing.c 2>/dev/null; done\n',
        },
        False,
    ),
    "retry": (
        ("tini", "--", "sh", "retry.sh"),
        {"retry.sh": LEAVES + 'until [ "$asked" ] || grep -q never /etc/hostname; do sleep 0.05; done\n'},
        False,
    ),
    "timers": (
        ("python3", "timers.py"),
        {
            "timers.py": textwrap.dedent("""\
                import os, signal, time
                signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
                signal.signal(signal.SIGURG, lambda *_: None)
                signal.signal(signal.SIGALRM, lambda *_: None)
                signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
                while True:
                    os.kill(os.getpid(), signal.SIGURG)
                    time.sleep(0.0005)
            """)
        },
        False,
    ),
    "reaper": (
        ("python3", "reaper.py"),
        {
            "reaper.py": textwrap.dedent("""\
                import os, signal, time
                def reap(*_):
                    try:
                        while os.waitpid(-1, os.WNOHANG)[0]:
                            pass
                    except ChildProcessError:
                        pass
                asked = []
                signal.signal(signal.SIGCHLD, reap)
                signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
                while not asked:
                    if os.fork() == 0:
                        os.fork()
                        time.sleep(0.02)
                        os._exit(0)
                    time.sleep(0.05)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                try:
                    while True:
                        os.wait()
                except ChildProcessError:
                    pass
            """)
        },
        False,
    ),
    "host": (("python3", "host.py"), {"host.py": textwrap.dedent("""\
        import os, signal, subprocess, time
        asked = []
        signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
        while not asked:
            subprocess.run(["grep", "-q", "never", "/etc/hostname"])
            time.sleep(0.05)
    """)}, True),
}  # fmt: skip


@contextlib.contextmanager
def busy(prefix, folder):
    """The healthy containers, at work."""
    with contextlib.ExitStack() as stack:
        boxes = []
        for name, (argv, files, host_pid) in BUSY.items():
            workdir = folder / name
            workdir.mkdir()
            for file, text in files.items():
                (workdir / file).write_text(text)
            box = stack.enter_context(Container(f"{prefix}-{name}", workdir=workdir, host_pid=host_pid))
            box.start(argv)
            boxes.append(box)
        for box in boxes:
            box.wait_ready(asleep=False)
        yield boxes
        for box in boxes:
            box.stop(10)


def probe(boxes, done, errors):
    """Exec probes, as a kubelet's, in one container after the other."""
    try:
        while not done.wait(0.2):
            for box in boxes:
                if not done.is_set():
                    box.exec(["true"]).wait()
    except Exception as error:  # noqa: BLE001
        errors.append(error)


def soak(seconds, defects, folder):
    prefix = f"soak-{os.getpid()}"
    dice = random.Random(seconds)
    end = time.monotonic() + seconds
    planted = sorted((dice.uniform(0, seconds * 0.9), dice.choice(DEFECTS)) for _ in range(defects))
    done, errors, wrong = threading.Event(), [], []
    with Bench() as bench, busy(prefix, folder) as boxes:
        prober = threading.Thread(target=probe, args=([b for b in boxes if not b.name.endswith("host")], done, errors))
        prober.start()
        try:
            begin, number = time.monotonic(), 0
            while time.monotonic() < end or planted:  # a slow machine comes to the last later
                number += 1
                if planted and time.monotonic() - begin >= planted[0][0]:
                    wrong.append(bench.stop_one(planted.pop(0)[1], f"{prefix}-defect-{number}"))
                else:
                    wrong.append(bench.stop_one(dice.choice(HEALTHY), f"{prefix}-healthy-{number}"))
        finally:
            done.set()
            prober.join()
        assert not errors
    ours = [v for v in bench.verdicts.verdicts if ((v.workload and v.workload.container_name) or "").startswith(prefix)]
    findings = [v for v in ours if isinstance(v, Finding) and "-defect-" not in v.workload.container_name]
    stopped = [v for v in ours if isinstance(v, Shutdown)]
    lost = [v for v in bench.verdicts.verdicts if isinstance(v, Finding) and v.code == "events-lost"]
    print(f"\n{seconds} s: {len(stopped)} shutdowns, {defects} defects, {number - defects} healthy stops")
    none_wrong(wrong)
    told = [(v.workload.container_name, v.code, v.cause, v.message) for v in findings]
    assert not told, "of the healthy ones"
    assert not lost


@pytest.fixture(autouse=True)
def _needs():
    for program in ("tini", "cc"):
        if not shutil.which(program):
            pytest.skip(f"{program} is missing: run make setup")


def test_a_busy_healthy_node_with_four_defects(bpf_host, tmp_path):
    soak(12, 4, tmp_path)
