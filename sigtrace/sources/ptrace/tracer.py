"""The tracer: a process of its own that does nothing but wait for its tracees and let them go on.

Of its own, because a tracer's wait(2) takes what others in its process wait for, because ptrace(2) binds to one thread,
and because whatever keeps the rest of sigtrace busy must not keep a tracee stopped. It imports little, never blocks on
what it tells, and ends when nobody holds its orders any more: the kernel then lets all tracees go on as they were.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections import deque
from typing import Final

from sigtrace.sources.ptrace import _ptrace as pt
from sigtrace.sources.ptrace.groups import UNKNOWN, Group
from sigtrace.sources.ptrace.reports import Reports
from sigtrace.sources.ptrace.tracees import Tracees
from sigtrace.sources.ptrace.wire import ORDER, SETTINGS, Order, Report, Want

_AT_ONCE: Final = 256
"""stops between two looks at the orders"""
_SHARE: Final = 64
_ROUNDS: Final = 16
"""so many, or such a part, of all are asked in their turn after _AT_ONCE stops"""
_LINGER_S: Final = 0.001
_LINGER_NS: Final = 1_000_000
_NEWS: Final = {signal.SIGCHLD, signal.SIGIO}
_STOPS: Final = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
#: Faults that a handler takes are a JVM's or a browser's daily bread.
_FAULTS: Final = sum(1 << (signo - 1) for signo in (4, 5, 6, 7, 8, 11, 31))
_SI_TIMER: Final = -2
_BIRTHS: Final = (pt.EVENT_FORK, pt.EVENT_VFORK, pt.EVENT_CLONE)
_STOPPED: Final = (os.CLD_TRAPPED, os.CLD_STOPPED)


class Tracer:
    """What tracees report, and what is ordered."""

    def __init__(self, orders: int, reports: int) -> None:
        """``orders``, ``reports``: descriptors. The settings come first of all orders."""
        self._orders, self._reports = orders, Reports(reports)
        self._tell, self._stop_signals, most, self._rate, self._tell_all = SETTINGS.unpack(
            os.read(orders, SETTINGS.size)
        )
        self._tracees = Tracees(self._reports, most)
        self._born: deque[int] = deque(maxlen=1024)
        """of late, and perhaps not adopted yet"""
        self._turn: list[int] = []
        self._half = b""
        self._ended = False

    # ---- life

    def run(self) -> None:
        """Until the orders end."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        fcntl.fcntl(self._orders, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(self._orders, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
        signal.signal(signal.SIGALRM, lambda *_: None)
        self._tracees.start()
        woken_ns = 0
        self._obey()
        while not self._ended:
            # A second is for nothing but a lost wake-up; reports wait for more of them, but not long.
            news = signal.sigtimedwait(_NEWS, _LINGER_S if self._reports.waiting else 1.0)
            if news is None or news.si_signo == signal.SIGIO:
                self._obey()
                self._ended |= not self._reports.flush()
            took = self._take(os.WNOHANG)
            if self._reports.is_due():
                self._ended |= not self._reports.flush()
            before_ns, woken_ns = woken_ns, time.monotonic_ns() if took else woken_ns
            if took == _AT_ONCE or woken_ns - before_ns < _LINGER_NS * bool(took):
                self._stay()

    def _stay(self) -> None:
        """While stops come one upon the other: waits for the next in waitid itself, which a tick ends now and then.

        Three system calls a stop in place of five. Orders, and reports that wait, are looked after at each tick.
        """
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        signal.setitimer(signal.ITIMER_REAL, _LINGER_S, _LINGER_S)
        while not self._ended and self._take(0):
            self._obey()
            if self._reports.waiting:
                self._ended |= not self._reports.flush()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})

    def _take(self, options: int) -> int:
        """Takes what tracees report, as many as there are, a tick lets us, or _AT_ONCE; returns how many.

        ``options``: of :func:`pt.look`.
        """
        for taken in range(_AT_ONCE):
            try:
                code, tid, status = pt.look(options)
            except (ChildProcessError, InterruptedError):
                return taken
            if not tid:
                return taken
            self._hear(code, tid, status)
        self._ask_in_turn()
        return _AT_ONCE

    def _ask_in_turn(self) -> None:
        """Asks each by its number: where many stop without end, the others might wait for ever.

        The kernel looks at tracees in one order, always from its beginning (ptrace_do_wait in kernel/exit.c): those
        that were attached last come first, and are stopped anew before it comes to the rest.
        """
        if not self._turn:
            self._turn = list({*self._tracees.threads, *self._born})
            self._born.clear()
        share = max(_SHARE, len(self._tracees.threads) // _ROUNDS)
        asked, self._turn = self._turn[:share], self._turn[share:]
        for tid in asked:
            try:
                code, found, status = pt.look(os.WNOHANG, tid)
            except ChildProcessError:
                continue  # it is gone, or was never ours
            if found:
                self._hear(code, tid, status)

    def _hear(self, code: int, tid: int, status: int) -> None:
        """What :func:`pt.look` has seen.

        Only seen: a wait that takes a stop takes its signal, too (wait_task_stopped clears exit_code in kernel/exit.c),
        and if we were killed before we let it go on, the signal would be lost.
        """
        try:
            if code not in _STOPPED:
                self._exited(tid)
            elif not status >> 8:
                self._signalled(tid, status)
            # An event carries no signal; and ptrace refuses an exec's that was not waited for
            # (looks_like_a_spurious_pid in kernel/ptrace.c). A stop, no end: it may be killed just now.
            elif stop := os.waitid(os.P_PID, tid, os.WSTOPPED | os.WNOHANG | pt.WALL):
                self._stopped(tid, stop.si_status)
        except (ProcessLookupError, ChildProcessError):
            pass  # it was killed meanwhile and is in no stop any more (ESRCH); its exit comes next

    def _obey(self) -> None:
        try:
            raw = os.read(self._orders, 1 << 16)
        except BlockingIOError:
            return
        self._ended = not raw
        raw = self._half + raw
        whole = len(raw) - len(raw) % ORDER.size
        self._half = raw[whole:]
        for order, want, tgid in ORDER.iter_unpack(raw[:whole]):
            if order == Order.SEIZE:
                self._tracees.seize(tgid, want)
            elif order == Order.FORGET and (group := self._tracees.get(tgid)):
                group.letting_go = True
        self._tracees.tell_full()

    # ---- what tracees do

    def _signalled(self, tid: int, signo: int) -> None:
        """A signal is about to be delivered."""
        group = self._tracees.threads.get(tid) or self._tracees.adopt(tid)
        if group is None:
            pt.detach(tid, signo)  # born of a process whose children are not asked for
            return
        code = None
        if self._tell_all or (self._tell | _FAULTS) >> (signo - 1) & 1:
            code = self._signal(tid, group, signo)
        if group.letting_go or (code and self._would_loop(group, signo, code)):
            self._tracees.let_go(tid, group, signo)
        else:
            pt.cont(tid, signo)

    def _stopped(self, tid: int, status: int) -> None:
        """Something else than a signal: a birth, an exec, a group stop or its end. ``status``: si_status."""
        signo, event = status & 0xFF, status >> 8
        group = self._tracees.threads.get(tid) or self._tracees.adopt(tid)
        if group is None:
            pt.detach(tid, 0)
            return
        if group.letting_go:
            self._tracees.let_go(tid, group, 0)
        elif event == pt.EVENT_STOP and signo in _STOPS:
            if not group.stopped:
                group.stopped = True
                self._reports.say(Report.STOPPED, group.tgid, number=signo)
            pt.listen(tid)
        else:
            if event == pt.EVENT_STOP and group.stopped:
                group.stopped = False
                self._reports.say(Report.CONTINUED, group.tgid)
            elif event == pt.EVENT_EXEC:
                self._tracees.executed(group)
                self._reports.say(Report.EXEC, group.tgid, value=pt.event_message(tid))
            elif event in _BIRTHS:
                self._born.append(pt.event_message(tid))
            pt.cont(tid, 0)

    @staticmethod
    def _would_loop(group: Group, signo: int, code: int) -> bool:
        """Whether it is the fault of an init, which no handler takes: traced, it would fault for ever.

        The kernel lets an init die of a fault only while nobody traces it (force_sig_info_to_task in kernel/signal.c).
        """
        return code > 0 and bool(_FAULTS >> (signo - 1) & 1) and group.is_init() and not group.handles(signo)

    def _signal(self, tid: int, group: Group, signo: int) -> int:
        """Tell it, if it matters; the thread is stopped and does not know of it yet. Returns its si_code."""
        code, sender, uid = pt.siginfo(tid)
        bit = 1 << (signo - 1)
        if not self._tell_all and not self._tell & bit:
            return code
        if not (self._tell_all or bit & (_FAULTS | self._stop_signals) or (code <= 0 and code != _SI_TIMER)):
            return code
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        asks = bool(bit & self._stop_signals)
        if self._rate and not group.admit(now, self._rate, asks=asks):
            self._reports.limited += 1
            return code
        blocked, ignored, caught = group.masks() if asks or group.may_look(now) else UNKNOWN
        if not self._tell_all and bit & _FAULTS & caught and code > 0:
            return code
        if asks and group.want & Want.MAIN:
            self._tracees.seize_below(group.tgid)
        self._reports.say(
            Report.SIGNAL,
            group.tgid,
            tid,
            now_ns=now,
            masks=(caught, ignored, blocked),
            value=code,
            other=sender,
            uid=uid,
            number=signo,
        )
        return code

    def _exited(self, tid: int) -> None:
        # A thread that took its leader's number by an exec and was killed before that was told has the group's alone.
        group = self._tracees.threads.get(tid) or self._tracees.get(tid)
        is_main = group is not None and tid == group.tgid and group.want & Want.MAIN
        # Before anybody may reap it: what it blocks shows whether it may have taken signals without a stop.
        blocked, ignored, caught = group.masks() if group and is_main else (0, 0, 0)
        ended, status = os.waitpid(tid, pt.WALL | os.WNOHANG)
        if group is None or not ended:
            return
        self._tracees.remove(tid, group)
        if tid == group.tgid:  # comes after the last of its threads
            self._tracees.forget(group)
            self._reports.say(Report.EXIT, tid, value=status, masks=(caught, ignored, blocked))
        elif not group.tids:  # its leader had left before us
            self._tracees.forget(group)
            self._reports.say(Report.LET_GO, group.tgid)


def main() -> None:
    """Orders from stdin, reports to stdout."""
    Tracer(0, 1).run()
    os._exit(0)  # tracees go on at once, not after an interpreter's farewell
