"""Which of the runs of these tests on this machine this is, so that two at a time share no address."""

import functools
import os
import socket

RUNS = 80
_claims = []


def claim(first):
    """The number from `first` on that nobody has; it is ours until this process ends."""
    for number in (*range(first, RUNS), *range(first)):
        holder = socket.socket(socket.AF_UNIX)
        try:
            holder.bind(f"\0dualmesh-cluster-tests-{number}")  # no file: the kernel frees it
        except OSError:
            holder.close()
            continue
        _claims.append(holder)
        return number
    raise OSError(f"{RUNS} runs of the cluster tests at a time are too many")


@functools.cache
def run_number():
    return claim(os.getpid() % RUNS)
