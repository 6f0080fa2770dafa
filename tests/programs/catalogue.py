"""The programs, and what is known of each from its documentation, its source and a run without sigtrace."""

from __future__ import annotations

import signal
from dataclasses import replace

from tests.programs.case import (
    EXPIRED,
    GRACEFUL,
    GRACEFUL_143,
    NO_HANDLER,
    NOT_FORWARDED,
    SHELL_FORM,
    SLOW,
    TERMINATED,
    Case,
    Expected,
    Program,
)
from tests.programs.helpers import PHP_FPM, http_client, initdb, silent_client, sql_client


def forms(
    exec_form: Expected, init: Expected | None = None, shell: Expected | None = SHELL_FORM
) -> dict[str, Expected]:
    """What each form comes to; ``init``: tini and dumb-init, if not as the exec form."""
    under_init = init or exec_form
    all_forms = {"exec": exec_form, "shell": shell, "tini": under_init, "dumb-init": under_init}
    return {form: expected for form, expected in all_forms.items() if expected}


HANDLES = forms(GRACEFUL)

_BECAME_IT = replace(GRACEFUL, why="bash and busybox execute the last command of -c in their own place")

_GUNICORN = Program(
    name="gunicorn",
    argv="gunicorn -w 2 -b 127.0.0.1:@PORT@ flask_app:app",
    forms={**HANDLES, "bash -c": _BECAME_IT, "busybox sh -c": _BECAME_IT},
    needs=("gunicorn", "python:flask"),
    version="gunicorn --version",
    files=("flask_app.py", "gunicorn.conf.py"),
    says=(b"worker is up", 2),
    processes=3,
)

# After its clean-up uvicorn restores SIGTERM's default action and sends itself SIGTERM again (uvicorn/server.py,
# capture_signals): an ordinary process dies of it, 143; at PID 1 the kernel drops it, and uvicorn goes on to exit 0.
_RE_RAISED = replace(
    GRACEFUL,
    why="uvicorn sends itself SIGTERM again when it has cleaned up; at PID 1 that is dropped, and it exits 0 by itself",
)

# node.js has a handler for SIGTERM of its own, reset by the delivery (SA_RESETHAND), that restores the terminal and
# raises SIGTERM again while all signals are blocked (src/node.cc, SignalExit): at PID 1 it is dropped on unblocking.
_NODE_PID_1 = Expected(
    "escalated",
    "dropped",
    137,
    frozenset({"signal-dropped/late-drop", EXPIRED}),
    "node's own handler raises SIGTERM again with signals blocked; at PID 1 that is dropped when they are unblocked",
)
_NODE_UNDER_INIT = replace(
    GRACEFUL_143,
    why="node's own handler restores the terminal and raises SIGTERM again: for the kernel, a handler that re-raises",
)

_UVICORN = Program(
    name="uvicorn",
    argv="uvicorn --port @PORT@ fastapi_app:app",
    forms=forms(_RE_RAISED, GRACEFUL_143),
    needs=("uvicorn", "python:fastapi"),
    version="uvicorn --version",
    files=("fastapi_app.py",),
    says=(b"startup complete", 1),
)

_NGINX = Program(
    name="nginx",
    argv="nginx -c @DIR@/nginx.conf -g 'daemon off;'",
    forms=HANDLES,
    signo=signal.SIGQUIT,
    needs=("nginx",),
    version="nginx -v",
    files=("nginx.conf",),
    processes=3,
)

_APACHE = Program(
    name="apache",
    argv="apache2 -f @DIR@/apache.conf -DFOREGROUND",
    forms=HANDLES,
    needs=("apache2",),
    version="apache2 -v",
    files=("apache.conf",),
    processes=3,
)

# The default action of SIGWINCH is to do nothing, at PID 1 and elsewhere: no drop by the rule book.
_WINCH_TO_DASH = Expected(
    "escalated",
    "dropped",
    137,
    frozenset({"signal-dropped/shell-form", EXPIRED}),
    "declared as the stop signal, SIGWINCH ends at `sh`, whose default action is to ignore it",
)

_UNDECLARED = "without a runtime that tells STOPSIGNAL nobody can know that SIGWINCH asks for the end"

# The master passes SIGUSR1, the soft stop, on to its worker, which waits for its clients. It says "Loading success"
# while it still blocks the signal, and loses one that comes then: 2.6 told its worker nothing 21 times of 21.
_HAPROXY = Program(
    name="haproxy",
    argv="haproxy -W -db -f @DIR@/haproxy.cfg",
    forms=HANDLES,
    signo=signal.SIGUSR1,
    needs=("haproxy",),
    version="haproxy -v",
    files=("haproxy.cfg",),
    processes=2,
    takes="haproxy",
)

_PHP_FPM = Program(
    name="php-fpm",
    argv=f"{PHP_FPM} -y @DIR@/php-fpm.conf",
    forms=HANDLES,
    signo=signal.SIGQUIT,
    needs=(PHP_FPM,),
    version=f"{PHP_FPM} --version",
    files=("php-fpm.conf",),
    processes=3,
)

# dash catches SIGINT with -c (setsignal in its trap.c), and goes on waiting for its child.
_DASH_TOOK_IT = replace(
    NOT_FORWARDED, why="`sh -c` of dash has a handler for SIGINT, of all signals: delivered, and not passed on"
)

_POSTGRES = Program(
    name="postgres",
    argv="postgres -D @DIR@/data -p @PORT@ -c unix_socket_directories=",
    forms=forms(GRACEFUL, shell=_DASH_TOOK_IT),
    signo=signal.SIGINT,
    needs=("postgres", "initdb", "setpriv"),
    version="postgres --version",
    says=(b"ready to accept connections", 1),
    processes=6,
    user="postgres",
    prepare=initdb,
)

# Python runs handlers outside of the signal's own frame, so the second SIGTERM is not blocked.
_RAISED_IN_VAIN = Expected(
    "escalated",
    "dropped",
    137,
    frozenset({"signal-dropped/no-handler", EXPIRED}),
    "its handler cleans up, restores the default action, sends SIGTERM again; at PID 1 that is dropped, and it stays",
)

_SMART = Expected(
    "escalated",
    "slow",
    137,
    frozenset({EXPIRED}),
    why="the smart shutdown (SIGTERM) waits for clients, and tells no other process before they have gone",
)

_NODE = Program(
    name="node",
    argv="node server.js",
    forms=forms(_NODE_PID_1, _NODE_UNDER_INIT),
    needs=("node",),
    version="node --version",
    files=("server.js",),
)

PROGRAMS = (
    _GUNICORN,
    replace(
        _GUNICORN,
        name="gunicorn-busy",
        client=http_client,
        # The shell form never gets so far.
        forms=forms(SLOW, shell=None),
    ),
    replace(
        _GUNICORN,
        name="gunicorn-uvicorn",
        argv="gunicorn -w 2 -k uvicorn_worker.UvicornWorker -b 127.0.0.1:@PORT@ fastapi_app:app",
        needs=("gunicorn", "python:fastapi", "python:uvicorn_worker"),
        files=("fastapi_app.py",),
        says=(b"startup complete", 2),
    ),
    _UVICORN,
    replace(
        _UVICORN,
        name="uvicorn-workers",
        argv="uvicorn --port @PORT@ --workers 2 fastapi_app:app",
        forms=HANDLES,
        says=(b"startup complete", 2),
        processes=4,
    ),
    _NGINX,
    replace(_NGINX, name="nginx-term", signo=signal.SIGTERM),
    replace(
        _NGINX,
        name="nginx-prestop",
        pre_stop="nginx -c @DIR@/nginx.conf -s quit; while [ -e @DIR@/nginx.pid ]; do sleep 0.1; done",
        forms=forms(Expected("graceful", "pre-stop", 0), shell=Expected("graceful", "pre-stop", 0)),
    ),
    replace(_APACHE, name="apache-winch", signo=signal.SIGWINCH, forms=forms(GRACEFUL, shell=_WINCH_TO_DASH)),
    # As for a container whose runtime tells nothing: SIGWINCH cannot be known to be a stop signal.
    replace(
        _APACHE,
        name="apache-winch-undeclared",
        signo=signal.SIGWINCH,
        declared=False,
        forms=forms(Expected("exited", None, 0, why=_UNDECLARED), shell=None),
    ),
    _APACHE,
    _HAPROXY,
    replace(_HAPROXY, name="haproxy-busy", client=silent_client, forms=forms(SLOW, shell=None)),
    _PHP_FPM,
    replace(_PHP_FPM, name="php-fpm-term", signo=signal.SIGTERM),
    _POSTGRES,
    replace(_POSTGRES, name="postgres-term", signo=signal.SIGTERM, forms=HANDLES),
    replace(
        _POSTGRES,
        name="postgres-busy",
        signo=signal.SIGTERM,
        needs=(*_POSTGRES.needs, "psql"),
        client=sql_client,
        # SIGTERM is the smart shutdown, which waits for clients and tells nobody meanwhile. dumb-init's signal to the
        # whole process group reaches none of them either: each has a session of its own.
        forms=forms(_SMART, SLOW, shell=None),
    ),
    Program(
        name="redis",
        argv="redis-server --port @PORT@ --save ''",
        forms=HANDLES,
        needs=("redis-server",),
        version="redis-server --version",
        says=(b"Ready to accept connections", 1),
    ),
    _NODE,
    replace(_NODE, name="node-handler", argv="node handler.js", files=("handler.js",), forms=HANDLES),
    Program(
        name="java",
        argv="java Server.java",
        forms=forms(replace(GRACEFUL_143, why="the JVM handles SIGTERM, runs its hooks and exits 143")),
        needs=("java", "javac"),
        version="java -version",
        files=("Server.java",),
    ),
    Program(
        name="http.server",
        argv="python3 -m http.server --bind 127.0.0.1 @PORT@",
        forms=forms(NO_HANDLER, TERMINATED),
        needs=("python3",),
        version="python3 --version",
    ),
    Program(
        name="raises",
        argv="python3 raises.py",
        forms=forms(_RAISED_IN_VAIN, GRACEFUL_143),
        needs=("python3",),
        version="python3 --version",
        files=("raises.py",),
        listens=False,
        says=(b"up", 1),
    ),
    Program(
        name="sleep",
        argv="sleep infinity",
        forms=forms(NO_HANDLER, TERMINATED),
        needs=("sleep",),
        version="sleep --version",
        listens=False,
    ),
)

CASES = {case.name: case for case in (Case(program, form) for program in PROGRAMS for form in program.forms)}
