"""What all tests share: markers by folder, the guard of the kernel tests, wait_until."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import pytest
from hypothesis import settings

# How long an example takes says more about what else the machine does than about us.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

TESTS = Path(__file__).resolve().parent
FOLDERS = {"unit", "contract", "kernel", "containers", "receivers", "stress", "fuzz", "vm"}

# In these a skip hides what CI is there to prove, so SIGTRACE_KERNEL_TESTS=1 makes a failure of it.
MUST_RUN = {"contract", "kernel", "containers", "receivers", "stress", "fuzz"}

# Bits in CapEff of /proc/self/status, from include/uapi/linux/capability.h.
CAPABILITIES = {"CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}

T = TypeVar("T")


def folder_of(path: Path) -> str | None:
    """Return the top folder under tests/ that a test file lies in, or None."""
    try:
        folder = path.resolve().relative_to(TESTS).parts[0]
    except ValueError:
        return None
    return folder if folder in FOLDERS else None


def why_no_bpf() -> str | None:
    """Say why this process can't load BPF programs and make lab containers, with the fix; None if it should."""
    if os.geteuid() != 0:
        return "needs root: run `sudo make test`"
    status = Path("/proc/self/status").read_text(encoding="ascii")
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    missing = [name for name, bit in CAPABILITIES.items() if not effective >> bit & 1]
    if missing:
        return f"root without {', '.join(missing)}: run outside the container, or grant them"
    # Where tests/vm/bcc.py has hidden it, the backend bcc is what is to be tested.
    if not Path("/sys/kernel/btf/vmlinux").exists() and "SIGTRACE_BTF" not in os.environ:
        return "this kernel has no BTF: use one built with CONFIG_DEBUG_INFO_BTF"
    return None


def pytest_itemcollected(item: pytest.Item) -> None:
    folder = folder_of(item.path)
    if folder:
        item.add_marker(folder)


@pytest.fixture(scope="session")
def bpf_host() -> None:
    """Skip, saying what to do, where BPF programs can't be loaded. The tests in kernel/ have it already."""
    if reason := why_no_bpf():
        pytest.skip(reason)


def pytest_runtest_setup(item: pytest.Item) -> None:
    # A hook, not an autouse fixture: it comes before every fixture that would already need root.
    if folder_of(item.path) == "kernel" and (reason := why_no_bpf()):
        pytest.skip(reason)


def no_skips(path: Path) -> bool:
    return os.environ.get("SIGTRACE_KERNEL_TESTS") == "1" and folder_of(path) in MUST_RUN


def complaint(longrepr: object) -> str:
    reason = longrepr[2] if isinstance(longrepr, tuple) else longrepr
    return f"SIGTRACE_KERNEL_TESTS=1 forbids skipping this: {str(reason).removeprefix('Skipped: ')}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    report = yield
    # A test expected to fail (xfail) also reports "skipped", but it ran.
    if report.skipped and not hasattr(report, "wasxfail") and no_skips(item.path):
        report.longrepr = complaint(report.longrepr)
        report.outcome = "failed"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    report = yield
    # A whole file can skip itself while it is imported: pytest.skip(allow_module_level=True), importorskip.
    if report.skipped and no_skips(collector.path):
        report.longrepr = complaint(report.longrepr)
        report.outcome = "failed"
    return report


class WaitUntil(Protocol):
    """The type of the fixture wait_until."""

    def __call__(self, predicate: Callable[[], T], *, timeout: float = 30.0, what: str = "") -> T: ...


@pytest.fixture(scope="session")
def wait_until() -> WaitUntil:
    """Wait for a condition instead of sleeping: returns the predicate's first true value, fails after timeout (s).

    The timeout says only how long a failure takes: an emulated machine that is starved needs its time.
    """

    def wait(predicate: Callable[[], T], *, timeout: float = 30.0, what: str = "") -> T:
        __tracebackhide__ = True
        deadline = time.monotonic() + timeout
        pause = 0.001
        while True:
            # Asked once more after the deadline: on a busy machine the last pause may have been a long one.
            late = time.monotonic() >= deadline
            if value := predicate():
                return value
            if late:
                waited_for = what or getattr(predicate, "__name__", repr(predicate))
                pytest.fail(f"waited {timeout} s for {waited_for}; last value: {value!r}")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)

    return wait
