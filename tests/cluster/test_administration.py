"""What administrators change: clients' weights, set and taken back; and what the log says of it all."""

import json
import re

import pytest
from cluster import chat_body, post, wait_until
from test_mesh_tls import as_administrator, log_of, make_certificates, tls_flags


def tenants_file(cluster, name, **weights):
    path = cluster.directory / f"tenants-{name}.toml"
    path.write_text("".join(
        f'[[tenant]]\nname = "{tenant}"\nkeys = []\nweight = {weight}\n'
        for tenant, weight in weights.items()))
    return ["--http.tenants_file", path]


@pytest.fixture(name="cluster")
def cluster_fixture(make_cluster, monkeypatch):
    """Two nodes with certificates, whose files name different tenants."""
    cluster = make_cluster()
    directory = cluster.directory / "certificates"
    make_certificates(directory, "r1", "r2")
    as_administrator(monkeypatch, directory)
    files = {"r1": {"search": 2, "batch": 1}, "r2": {"search": 3, "late": 1}}
    return cluster.start(nodes=2, engines=1, flags_of=lambda name: [
        *tls_flags(directory, name), *tenants_file(cluster, name, **files[name])])


def by_name(cluster, node):
    """{tenant: weight in effect}"""
    told = cluster.ask(node, "weights")
    return {name: told["weights"].get(key, 1) for key, name in told["tenants"].items()}


def test_weights_are_set_over_the_files_and_cleared_on_all_nodes(cluster):
    r1, r2 = cluster.nodes
    assert by_name(cluster, r1) == {"search": 2, "batch": 1, "late": 1}
    assert by_name(cluster, r2) == {"search": 3, "batch": 1, "late": 1}
    shown = cluster.ctl(r1, "weights").stdout
    assert re.search(r"^search +differs +- +r1 2, r2 3$", shown, re.MULTILINE), shown

    done = cluster.ctl(r1, "weights", "set", "serach=5", "search=4")
    assert done.returncode == 2 and "no node that answered knows 'serach'" in done.stderr
    assert "tenants are: batch, late, search" in done.stderr, done.stderr
    done = cluster.ctl(r2, "weights", "set")
    assert done.returncode == 2 and "weights clear --all" in done.stderr
    assert by_name(cluster, r1)["search"] == 2, "nothing was set"

    done = cluster.ctl(r1, "weights", "set", "search=4", "late=7")
    assert done.returncode == 0 and "'late' is no client at r1" in done.stderr, done.stderr
    done = cluster.ctl(r2, "weights", "set", "--force", "coming=9", "batch=0.5")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    cluster.wait_converged()
    for node in cluster.nodes:
        wait_until(lambda n=node: by_name(cluster, n) == {"search": 4, "batch": 0.5, "late": 7}, 5,
                   "what was set earlier stays, on all nodes")
    shown = cluster.ctl(r2, "weights").stdout
    assert re.search(r"^search +4 +4 +r1 2, r2 3$", shown, re.MULTILINE), shown
    assert re.search(r"^#[0-9a-f]{16} +9 +9 +1$", shown, re.MULTILINE), shown

    done = cluster.ctl(r2, "weights", "clear", "search", "nobody")
    assert done.returncode == 2 and "no weight is set for 'nobody'" in done.stderr
    assert cluster.ctl(r2, "weights", "clear", "search").returncode == 0
    for node, own in zip(cluster.nodes, (2, 3)):
        wait_until(lambda n=node, w=own: by_name(cluster, n) == {"search": w, "batch": 0.5,
                                                                 "late": 7}, 5,
                   "the files count again for one")
    assert cluster.ctl(r1, "weights", "clear", "--all").returncode == 0
    for node, own in zip(cluster.nodes, (2, 3)):
        wait_until(lambda n=node, w=own: by_name(cluster, n) == {"search": w, "batch": 1,
                                                                 "late": 1}, 5,
                   "the files count again for all")
    assert cluster.ask(r1, "weights")["set"] == {}


def said_by_admins(node):
    return re.findall(r"info admin: (.*)", log_of(node))


def test_what_administrators_do_is_in_the_log_of_the_node_they_asked(cluster):
    r1, r2 = cluster.nodes
    for line in (["instance", "add", "e9", "127.0.0.1:9", "--model", "m", "--weight", "2"],
                 ["instance", "drain", "e1"], ["instance", "resume", "e1"],
                 ["instance", "remove", "nobody\nelse"], ["policy", "set", "round_robin"],
                 ["policy", "set", "bogus"], ["weights", "set", "search=4"],
                 ["weights", "clear", "search"],
                 ["weights", "set", "--force", "batch=1", "sk-secret=9"],
                 ["weights", "clear", "--all"],
                 ["status"], ["weights"], ["members"]):
        cluster.ctl(r1, *line)
    said = said_by_admins(r1)
    assert all(line.startswith(f"admin at {r1.host}:") or line.startswith("admin at 127.")
               for line in said), said
    what = [line.split(": ", 1)[1] for line in said]
    assert what[:3] == ["instance add e9 127.0.0.1:9 --weight 2 --model m", "instance drain e1",
                        "instance resume e1"]
    assert what[3].startswith("instance remove nobody?else: refused: "), what[3]
    assert what[4] == "policy set round_robin"
    assert what[5].startswith("policy set bogus: refused: "), what[5]
    assert what[6:8] == ["weights set search=4", "weights clear search"]
    assert re.fullmatch(r"weights set batch=1 #[0-9a-f]{16}=9", what[8]) or re.fullmatch(
        r"weights set #[0-9a-f]{16}=9 batch=1", what[8]), what[8]
    assert what[9:] == ["weights clear --all"], "who only looks is not in it"
    assert said_by_admins(r2) == []
    assert cluster.ctl(r2, "drain").returncode == 0
    wait_until(lambda: [line.split(": ", 1)[1] for line in said_by_admins(r2)] == ["drain"], 5.0,
               "the drain is in the log")


def test_without_tls_the_log_says_whence_an_order_came(make_cluster):
    cluster = make_cluster().start(nodes=1, engines=1)
    assert cluster.ctl(cluster.nodes[0], "policy", "set", "round_robin").returncode == 0
    [line] = said_by_admins(cluster.nodes[0])
    assert re.fullmatch(r"127\.\S+:\d+ \(no certificate\): policy set round_robin", line), line
    # Where no key is asked for every name may be a client's.
    done = cluster.ctl(cluster.nodes[0], "weights", "set", "anybody=2")
    assert done.returncode == 0 and done.stderr == "", done.stderr


def test_a_line_of_the_access_log_leads_to_the_decision(make_cluster, tmp_path):
    log = tmp_path / "access.log"
    cluster = make_cluster().start(nodes=1, engines=2,
                                   flags_of=lambda name: ["--log.access_file", log])
    node = cluster.nodes[0]
    for number in range(3):
        assert post(node.http, "/v1/chat/completions", chat_body(f"Tell me {number}."),
                    {"x-request-id": f"mine-{number}"})[0] == 200
    wait_until(lambda: '"mine-2"' in log.read_text(), 5.0, "the lines are written")
    lines = {line["request_id"]: line for line in map(json.loads, log.read_text().splitlines())}
    line = lines["mine-1"]
    [decision] = cluster.ask(node, "decisions", str(line["decision"]))
    assert (decision["id"], decision["chosen"], decision["reason"]) == (
        line["decision"], line["instance"], line["reason"])
    shown = cluster.ctl(node, "decisions", str(line["decision"])).stdout.splitlines()
    assert len(shown) == 2 and shown[1].split()[0] == str(line["decision"]), shown
    done = cluster.ctl(node, "decisions", "4711000")
    assert done.returncode == 2 and "this node has no decision 4711000" in done.stderr
