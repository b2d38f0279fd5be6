"""Child processes that never outlive us, and small helpers to wait for them.

Each child gets a session of its own, so that Ctrl-C reaches us alone and we stop the others in
order, and asks the kernel for SIGKILL should we die without doing so. Standard library only.
"""

import ctypes
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class LocalError(Exception):
    """Something a person can act on; the text says what."""


def die_with_parent():
    """To be run in the child between fork and exec."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """One child, its output in a log file."""

    def __init__(self, name, argv, log_path, env=None):
        self.name = name
        self.log_path = str(log_path)
        with open(self.log_path, "ab") as log:
            self._child = subprocess.Popen(
                [str(part) for part in argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=env, start_new_session=True, preexec_fn=die_with_parent)

    @property
    def pid(self):
        return self._child.pid

    def alive(self):
        return self._child.poll() is None

    def exit_status(self):
        return self._child.poll()

    def signal(self, number):
        if self.alive():
            self._child.send_signal(number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self._child.wait()

    def stop(self, patience_s=5.0):
        """SIGTERM, then SIGKILL; returns the exit status."""
        self.signal(signal.SIGTERM)
        try:
            return self._child.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._child.returncode

    def wait(self, timeout_s=None):
        return self._child.wait(timeout_s)

    def log_tail(self, lines=15):
        with open(self.log_path, errors="replace") as log:
            return "".join(log.readlines()[-lines:])

    def require_alive(self):
        if not self.alive():
            raise LocalError(f"{self.name} stopped with status {self.exit_status()}; the end of "
                             f"{self.log_path}:\n{self.log_tail()}")


def wait_until(condition, timeout_s, what, check=None, pause_s=0.02):
    """Waits for a true value and returns it; `check` may raise to give up early."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if check is not None:
            check()
        if time.monotonic() >= deadline:
            raise LocalError(f"not within {timeout_s:g} s: {what}")
        time.sleep(pause_s)


def http_get(url, timeout_s=2.0):
    """(status, text); (0, "") when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except (OSError, ValueError):
        return 0, ""


def require_free_port(address, port):
    """Raises when something listens there already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise LocalError(f"{address}:{port} cannot be used: {error.strerror}. Another program "
                             f"may have it; `ss -ltnup sport = :{port}` shows which.") from None


def is_root():
    return os.geteuid() == 0
