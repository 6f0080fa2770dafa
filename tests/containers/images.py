"""Images made here, for runtimes that shall need no network: busybox, a pause program, a stop signal."""

import functools
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

BUSYBOX = "localhost/sigtrace-busybox:1"
QUIT = "localhost/sigtrace-quit:1"
"""busybox whose image says STOPSIGNAL SIGQUIT"""
PAUSE = "localhost/sigtrace-pause:1"

#: As Kubernetes' own: it sleeps, and SIGTERM ends it.
_PAUSE_C = """
#include <signal.h>
#include <unistd.h>
static void ended(int signo) { (void)signo; _exit(0); }
int main(void)
{
	signal(SIGTERM, ended);
	signal(SIGINT, ended);
	for (;;)
		pause();
}
"""

_APPLETS = "sh cat echo env false id kill ls mkdir ps sleep test touch trap true usleep".split()


def tool(name: str, package: str = "") -> str:
    """Path of a program; skips, naming its package, where it is missing."""
    path = shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        pytest.skip(f"{name} is not installed: install the package {package or name}")
    return path


@functools.cache
def _pause() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "pause.c"), Path(folder, "pause")
        source.write_text(_PAUSE_C, encoding="ascii")
        subprocess.run([tool("cc", "gcc"), "-Os", "-static", "-s", "-o", program, source], check=True)
        return program.read_bytes()


def _tar(files: dict[str, bytes | str]) -> bytes:
    """A tar of these: bytes are programs, text is where a symbolic link leads; ``name/`` a folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.rstrip("/"))
            entry.mode = 0o755
            if name.endswith("/"):
                entry.type = tarfile.DIRTYPE
                tar.addfile(entry)
            elif isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


@functools.cache
def archive() -> bytes:
    """All three images, as `docker save` writes them."""
    busybox = {"bin/": b"", "tmp/": b"", "proc/": b"", "sys/": b"", "dev/": b"", "etc/": b""}
    busybox |= {"bin/busybox": Path(tool("busybox", "busybox-static")).read_bytes()}
    busybox |= {f"bin/{name}": "busybox" for name in _APPLETS if name != "trap"}
    layer, pause = _tar(busybox), _tar({"pause": _pause()})
    images = [
        (BUSYBOX, layer, {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]}),
        (QUIT, layer, {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"], "StopSignal": "SIGQUIT"}),
        (PAUSE, pause, {"Entrypoint": ["/pause"]}),
    ]
    files: dict[str, bytes | str] = {}
    manifest = []
    for name, content, config in images:
        digest = hashlib.sha256(content).hexdigest()
        files[f"{digest}.tar"] = content
        about = {
            "architecture": "amd64" if Path("/lib64/ld-linux-x86-64.so.2").exists() else "arm64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
        text = json.dumps(about).encode()
        file = f"{hashlib.sha256(text).hexdigest()}.json"
        files[file] = text
        manifest.append({"Config": file, "RepoTags": [name], "Layers": [f"{digest}.tar"]})
    return _tar(files | {"manifest.json": json.dumps(manifest).encode()})
