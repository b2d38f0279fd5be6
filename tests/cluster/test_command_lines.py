"""What every program says to --help, --version and a command line that makes no sense."""

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import termios

import pytest
from cluster import MODEL, Cluster, chat_body, post, wait_until

PROGRAMS = ["dualmeshd", "dualmeshctl", "dualmesh-engine", "dualmesh-replay"]
COMMANDS = ["status", "members", "instances", "rings", "lag", "metrics", "drain", "policy",
            "policy set", "weights", "weights set", "weights clear", "hash-key", "instance",
            "instance add", "instance drain", "instance resume", "instance remove", "diff", "watch", "wait-converged", "explain",
            "decisions", "kv"]
SENSELESS = {
    "an unknown option": ([[name, "--sideways"] for name in PROGRAMS], "--sideways"),
    "a value out of range": ([["dualmesh-engine", "--count", "0"],
                              ["dualmeshctl", "decisions", "--last", "0"],
                              ["dualmeshd", "--mesh.alone", "perhaps"],
                              ["dualmesh-replay", "live", "--qps", "-1"]], ""),
    "a subcommand that there is not": ([["dualmeshctl", "lagg"], ["dualmesh-replay", "lagg"],
                                        ["dualmeshctl", "instance", "lagg"]],
                                       "there is no command 'lagg'"),
    "no subcommand": ([["dualmeshctl"], ["dualmesh-replay"], ["dualmeshctl", "instance"]],
                      "subcommand is required"),
    "a time without a unit": ([["dualmeshctl", "wait-converged", "--timeout", "5"],
                               ["dualmeshctl", "watch", "--interval", "5"],
                               ["dualmeshctl", "instance", "drain", "e1", "--wait", "--timeout",
                                "5"]], "a unit, ms, s, m or h"),
}


def run(program, *arguments):
    cluster = Cluster()
    shutil.rmtree(cluster.directory)
    return subprocess.run([str(cluster.program(program)), *arguments], capture_output=True,
                          text=True, timeout=30, check=False)


@pytest.mark.parametrize("what", SENSELESS)
def test_a_senseless_command_line_ends_with_status_2_and_the_reason(what):
    command_lines, reason = SENSELESS[what]
    for line in command_lines:
        done = run(*line)
        assert done.returncode == 2, (line, done.returncode, done.stderr)
        assert reason in done.stderr, (line, done.stderr)
        assert done.stdout == "", line


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_tells_its_version(program):
    done = run(program, "--version")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(program + r" \d+\.\d+\.\d+\S*\n", done.stdout), done.stdout
    assert done.stdout.split()[1] == run("dualmeshd", "--version").stdout.split()[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_has_the_shared_options_and_an_example(command):
    done = run("dualmeshctl", *command.split(), "--help")
    assert done.returncode == 0, done.stderr
    assert "--node HOST:PORT" in done.stdout and "--json" in done.stdout
    assert f"\n  dualmeshctl {command}" in done.stdout, done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


HELPS = [[name] for name in PROGRAMS] + [["dualmesh-replay", sub] for sub in
                                         ("live", "simulate", "capacity", "compare")]


@pytest.mark.parametrize("line", HELPS, ids=" ".join)
def test_no_line_of_help_is_wider_than_100_columns(line):
    done = run(*line, "--help")
    assert done.returncode == 0, done.stderr
    assert [text for text in done.stdout.splitlines() if len(text) > 100] == []


def test_what_is_folded_goes_on_under_its_text():
    lines = run("dualmeshd", "--help").stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("  --node.name "))
    begin = lines[at].index("Name of this node")
    assert lines[at + 1][:begin].strip() == "" and lines[at + 1][begin] != " "


@pytest.mark.parametrize("line, said", [
    (["dualmesh-replay", "simulate", "--generate", "zipf", "--residency", "bogus"],
     "--residency: there is no 'bogus'; allowed: blind exact predicted"),
    (["dualmesh-replay", "simulate", "--generate", "zipf", "--policy", "bogus"],
     "--policy: there is no policy 'bogus'; allowed: "),
    (["dualmesh-engine", "--kv-format", "bogus"],
     "--kv-format: there is no 'bogus'; allowed: sglang sglang-arrays vllm vllm-arrays"),
    (["dualmesh-engine", "--kv-hashes", "bogus"],
     "--kv-hashes: there is no 'bogus'; allowed: bytes int"),
])
def test_a_name_that_there_is_not_is_told_with_those_there_are(line, said):
    done = run(*line)
    assert done.returncode == 2
    assert said in done.stderr, done.stderr


def in_terminal(columns, argv):
    """What the program writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    with subprocess.Popen([str(part) for part in argv], stdout=theirs) as process:
        os.close(theirs)
        parts = []
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            parts.append(part)
        process.wait(30)
    os.close(ours)
    return b"".join(parts).decode().replace("\r\n", "\n")


@pytest.fixture(name="cluster", scope="module")
def cluster_fixture():
    with Cluster() as cluster:
        cluster.keep_logs = False
        yield cluster.start(nodes=2, engines=2)


def test_a_table_is_as_wide_as_the_terminal(cluster):
    node = cluster.nodes[0]
    argv = [cluster.program("dualmeshctl"), "--node", node.mesh_address, "members"]
    build = cluster.ask(node, "status")["build"]
    wide = in_terminal(250, argv)
    assert build in wide, wide
    assert "…" in in_terminal(95, argv)
    assert max(map(len, in_terminal(95, argv).splitlines())) <= 95


TABLES = [["status"], ["members"], ["instances"], ["rings"], ["lag"], ["policy"], ["weights"],
          ["kv"], ["watch", "--once"], ["wait-converged"], ["diff", "r1", "r2"],
          ["decisions", "--last", "5"]]


def test_answers_fit_100_columns_of_a_terminal_and_are_not_cut_in_a_pipe(cluster, tmp_path):
    node, prompt = cluster.nodes[0], tmp_path / "prompt.txt"
    prompt.write_text("Tell me something about width. " * 40)
    post(node.http, "/v1/chat/completions", chat_body(prompt.read_text()))
    # As long as names and addresses of real machines; nobody is there.
    long = "h200-rack-17-a.gpu.eu-central.example.org"
    added = cluster.ctl(node, "instance", "add", long, f"{long}:8000", "--model", "other")
    assert added.returncode == 0, added.stderr
    try:
        for line in [*TABLES, ["explain", "--model", MODEL, "--prompt-file", prompt]]:
            done = cluster.ctl(node, *line)
            assert done.returncode == 0, (line, done.stderr)
            assert "…" not in done.stdout, (line, done.stdout)
            shown = in_terminal(100, [cluster.program("dualmeshctl"), "--node", node.mesh_address,
                                      *line])
            assert [text for text in shown.splitlines() if len(text) > 100] == [], line
            if line == ["instances"]:
                assert f"{long}:8000" in done.stdout and "…" in shown, (done.stdout, shown)
    finally:
        cluster.ctl(node, "instance", "remove", long)


def test_a_port_of_clients_or_of_an_instance_is_told_from_the_mesh_port(cluster):
    for address in (cluster.nodes[0].http, cluster.engines[0].address):
        done = run("dualmeshctl", "--node", address, "status")
        assert done.returncode == 2
        assert f"{address} speaks HTTP" in done.stderr, done.stderr
        assert "name a node's mesh address, its mesh.listen (port 7000 by default)" in done.stderr


def test_add_tells_a_new_instance_from_one_that_was_there(cluster):
    node = cluster.nodes[0]

    def said(*arguments):
        done = cluster.ctl(node, "instance", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    address = "127.0.0.1:9"
    assert said("add", "x", address) == "x added"
    assert said("add", "x", address, "--weight", "2") == "x changed: it was there already"
    said("drain", "x")
    assert said("add", "x", address) == "x changed, and active again: it was draining"
    assert said("remove", "x") == "x removed"
    assert said("remove", "x") == "x was removed already"
    assert cluster.ask(node, "instance", "add", "x", address)["before"] == "removed"
    said("add", "x", address, "--kv-events", "tcp://127.0.0.1:5557,ranks=2")
    wait_until(lambda: cluster.instances(cluster.nodes[1]).get("x", {}).get("kv_events")
               == "tcp://127.0.0.1:5557,ranks=2", 5.0, "the other node knows them")
    said("add", "x", address)
    assert cluster.instances(node)["x"]["kv_events"] == ""
    said("remove", "x")


def test_drain_waits_for_the_requests_of_all_nodes(cluster):
    from threading import Thread
    r1, r2 = cluster.nodes
    # Passed on through r2 alone: the node that is asked has nothing there itself.
    body = chat_body("A long answer", max_tokens=2_000)
    answers = []
    client = Thread(target=lambda: answers.append(post(r2.http, "/v1/chat/completions", body)))
    client.start()
    names = [engine.name for engine in cluster.engines]

    def loaded():
        for name, info in cluster.instances(r2).items():
            if name in names and sum(info["own"][k] for k in ("prefilling_requests",
                                                              "decoding_requests")) > 0:
                return name
        return None

    wait_until(lambda: loaded() or answers, 10.0, "the request is at an instance")
    name = loaded()
    assert name is not None, "the answer came too early"
    done = cluster.ctl(r1, "instance", "drain", name, "--wait", "--timeout", "1ms")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "r2" in done.stdout, done.stdout
    assert not answers
    done = cluster.ctl(r1, "instance", "drain", name, "--wait", "--timeout", "60s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{name} is drained" in done.stdout
    # Bytes on their way to the client may be later than the instance's end.
    client.join(10.0)
    assert answers and answers[0][0] == 200
    assert cluster.ctl(r1, "instance", "resume", name).returncode == 0
    cluster.wait_converged()


def test_explain_names_rings_only_where_a_policy_has_two(cluster, tmp_path):
    node = cluster.nodes[0]
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Tell me something about ferries. " * 40)

    def rings():
        decision = cluster.ask(node, "explain", "--prompt-file", prompt)["decision"]
        candidates = decision["candidates"]
        names = [candidate["ring"] for candidate in candidates]
        if names[0] == "chosen":
            assert [each["instance"] for each in candidates] == [decision["chosen"],
                                                                 decision["backup"]]
        return names

    assert rings() == ["chosen", "backup"]
    assert cluster.ctl(node, "policy", "set", "dualmap").returncode == 0
    wait_until(lambda: rings() == ["A", "B"], 5.0, "the owners on the two rings are named")
    assert cluster.ctl(node, "policy", "set", "dualmesh").returncode == 0
    wait_until(lambda: rings() == ["chosen", "backup"], 5.0, "dualmesh is back")
    cluster.wait_converged()


def test_explain_says_which_instance_takes_no_requests_and_why(cluster, tmp_path):
    node = cluster.nodes[0]
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Tell me something about bridges. " * 40)
    explained = cluster.ctl(node, "explain", "--prompt-file", prompt).stdout
    assert "NO" not in explained and "takes requests" in explained, explained
    first, second = cluster.engines
    assert cluster.ctl(node, "instance", "drain", first.name).returncode == 0
    wait_until(lambda: cluster.instances(node)[first.name]["lifecycle"] == "draining", 5.0, "drains")
    explained = cluster.ctl(node, "explain", "--prompt-file", prompt).stdout
    assert re.search(rf"^{first.name} .* NO$", explained, re.MULTILINE), explained
    assert f"\n{first.name} takes none: draining\n" in explained
    assert f"would go to {second.name}" in explained
    assert cluster.ctl(node, "instance", "resume", first.name).returncode == 0
    second.process.stop()
    wait_until(lambda: not cluster.instances(node)[second.name]["healthy"], 10.0, "seen as dead")
    explained = cluster.ctl(node, "explain", "--prompt-file", prompt).stdout
    assert re.search(rf"^{second.name} .* NO$", explained, re.MULTILINE), explained
    assert f"\n{second.name} takes none: unhealthy: GET /health: " in explained
    listed = cluster.ctl(node, "instances").stdout
    assert f"\n{second.name} is not healthy: GET /health: " in listed, listed
    assert f"would go to {first.name}" in explained
    first.process.stop()
    wait_until(lambda: cluster.ask(node, "status")["panic"], 10.0, "more than half look dead")
    explained = cluster.ctl(node, "explain", "--prompt-file", prompt).stdout
    assert "PANIC" in explained, explained


def test_a_node_that_is_not_there_is_told_without_the_words_of_system_calls():
    done = run("dualmeshctl", "--node", "127.0.0.1:1", "status")
    assert done.returncode == 2
    assert "127.0.0.1:1 is not reachable (Connection refused)" in done.stderr, done.stderr


def test_status_says_partition_once(cluster):
    r1, r2 = cluster.nodes
    r2.process.signal(9)
    wait_until(lambda: cluster.ask(r1, "status")["partition"], 10.0, "r2 is called dead")
    said = cluster.ctl(r1, "status").stdout
    assert re.search(r"^PARTITION    1 of 2 members unreachable", said, re.MULTILINE), said
    watch, lag = (cluster.ctl(r1, *line).stdout for line in (["watch", "--once"], ["lag"]))
    assert re.search(r"^r2 +DEAD .* for \d", watch, re.MULTILINE), watch
    assert re.search(r"^dead or cut off: r2 for \d", lag, re.MULTILINE), lag
    assert [node["name"] for node in cluster.ask(r1, "lag")["dead"]] == ["r2"]
