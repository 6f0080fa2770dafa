"""Says when a worker has its handlers and its application: the master listens long before."""

import sys


def post_worker_init(worker):
    print("worker is up", file=sys.stderr, flush=True)
