"""Cleans up when it is asked to stop, then ends by the same signal, as glibc's manual and many a shell script do."""

import os
import signal


def stop(signo, frame):
    print("cleaned up", flush=True)
    signal.signal(signo, signal.SIG_DFL)
    os.kill(os.getpid(), signo)


signal.signal(signal.SIGTERM, stop)
print("up", flush=True)
while True:
    signal.pause()
