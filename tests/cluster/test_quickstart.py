"""./deploy/quickstart from start to end, small."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from cluster import ROOT, wait_until

BUILD_AND_RUN_S = 400.0  # quickstart builds what has changed
SMALL = ["--nodes", "2", "--instances", "2", "--requests", "60", "--speed", "10"]


def processes_of(group_marker):
    """Pids whose environment holds the marker: everything that quickstart has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if group_marker.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def as_in_a_terminal():
    """What a shell without job control starts in the background would not hear Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(arguments, marker, log):
    environment = dict(os.environ, QUICKSTART_TEST=marker)
    with open(log, "wb") as output:
        return subprocess.Popen([ROOT / "deploy" / "quickstart", *arguments], stdout=output,
                                stderr=output, env=environment, start_new_session=True,
                                preexec_fn=as_in_a_terminal)


def test_it_runs_to_the_end_and_leaves_nothing(tmp_path):
    marker = f"end-{os.getpid()}"
    results = tmp_path / "results.json"
    child = start([*SMALL, "--exit", "--json", results], marker, tmp_path / "log")
    status = child.wait(BUILD_AND_RUN_S)
    output = (tmp_path / "log").read_text(errors="replace")
    assert status == 0, output
    document = json.loads(results.read_text())
    assert document["replay"]["completed"] >= 50  # overlong conversations are left out
    assert document["replay"]["failed"] == 0 and document["replay"]["rejected"] == 0
    assert set(document["replay"]["per_node"]) == {"r1", "r2"}
    assert document["converged"] is True
    assert "CONVERGED" in output
    assert processes_of(marker) == []


def test_ctrl_c_stops_everything(tmp_path):
    marker = f"ctrl-c-{os.getpid()}"
    log = tmp_path / "log"
    child = start(SMALL, marker, log)
    wait_for_text(child, log, "Ctrl-C stops everything")
    text = log.read_text(errors="replace")
    assert run_printed(text, "curl -iN", 4).returncode == 0
    assert "x-dualmesh-instance" in run_printed(text, "curl -iN", 4).stdout.lower()
    assert "ready" in run_printed(text, "dualmeshctl --node", 1).stdout
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does
    assert child.wait(30) == 0, log.read_text(errors="replace")
    assert processes_of(marker) == []


def test_a_killed_quickstart_leaves_nothing_either(tmp_path):
    marker = f"kill-{os.getpid()}"
    log = tmp_path / "log"
    child = start(SMALL, marker, log)
    wait_for_text(child, log, "Replaying")
    child.kill()
    child.wait()
    time.sleep(0.2)
    wait_until(lambda: processes_of(marker) == [], 5.0, "nothing is left running")


def test_a_port_in_use_is_said(tmp_path):
    import socket
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.1.1", 8080))
        taken.listen()
        child = start([*SMALL, "--exit"], f"port-{os.getpid()}", tmp_path / "log")
        assert child.wait(BUILD_AND_RUN_S) == 2
    assert "127.0.1.1:8080 cannot be used" in (tmp_path / "log").read_text()


def run_printed(text, beginning, lines):
    """Runs a command exactly as it was printed."""
    printed = text.splitlines()
    first = next(i for i, line in enumerate(printed) if beginning in line)
    command = "\n".join(printed[first:first + lines])
    command = command[:command.index("\n\n")] if "\n\n" in command else command
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30,
                          check=False)


def wait_for_text(child, log, text):
    def still_running():
        assert child.poll() is None, "quickstart has ended:\n" + log.read_text(errors="replace")

    wait_until(lambda: text in log.read_text(errors="replace"), BUILD_AND_RUN_S,
               f"quickstart prints: {text}", still_running)
