"""selective_push: a node hands what it cannot place to one that can, over a network with cut wires."""

import json
import sys
from pathlib import Path

import pytest
from checks import finish_clean, metric, succeed
from cluster import MODEL, chat_body, post, wait_until
from namespaces import network_cluster
from process import http_get

MARK = "x-dualmesh-handed-by"


@pytest.fixture(name="mesh", scope="module")
def mesh_fixture():
    """Two nodes in namespaces of their own, shared by the tests of this file."""
    with network_cluster(nodes=2, engines=2) as cluster:
        succeed(cluster, cluster.nodes[0], "policy", "set", "selective_push")
        for node in cluster.nodes:
            wait_until(lambda n=node: cluster.ask(n, "policy")["policy"] == "selective_push", 5.0,
                       f"{node.name} has the policy")
        yield cluster


@pytest.fixture(autouse=True)
def whole_again(mesh):
    yield
    mesh.network.heal()
    for node in mesh.nodes:
        wait_until(lambda n=node: all(i["healthy"] for i in mesh.instances(n).values()), 15.0,
                   f"{node.name} reaches every instance again")
    mesh.wait_idle()


def cut_off(mesh, node, engines):
    """Returns when that node knows that it cannot reach these engines, and the others still do."""
    number = mesh.nodes.index(node) + 1
    mesh.network.cut_off(number, [engine.address.split(":")[0] for engine in engines])
    for engine in engines:
        wait_until(lambda e=engine: not mesh.instances(node)[e.name]["healthy"], 15.0,
                   f"{node.name} does not reach {engine.name}")


def explained(mesh, node):
    request = mesh.directory / "request.json"
    request.write_text(json.dumps(chat_body("explain me")))
    return mesh.ctl(node, "explain", "--prompt-file", str(request)).stdout


def lower(headers):
    return {name.lower(): value for name, value in headers.items()}


def ask(node, headers=None, **more):
    status, answered, text = post(node.http, "/v1/chat/completions", chat_body("Hello", **more),
                                  headers)
    return status, lower(answered), text


def handed(mesh, node):
    return metric(mesh, node, "dualmesh_requests_handed_total")


def handed_back(mesh, node):
    return metric(mesh, node, "dualmesh_requests_handed_back_total")


def test_a_node_that_reaches_no_instance_serves_by_way_of_another(mesh):
    r1, r2 = mesh.nodes
    assert "handed" not in explained(mesh, r1)
    cut_off(mesh, r1, mesh.engines)
    wait_until(lambda: "would be handed to node r2" in explained(mesh, r1), 5.0,
               "r1 knows that r2 reaches an instance")
    before = handed(mesh, r1)

    # A user's program notices nothing, streaming or not.
    script = Path(__file__).with_name("openai_client.py")
    client = mesh.spawn("openai-client", [sys.executable, script, f"http://{r1.http}/v1", MODEL,
                                          "tour"])
    assert client.wait(60.0) == 0, client.log_tail()
    result = json.loads(Path(client.log_path).read_text().splitlines()[-1])
    assert len(result["chat"].split()) == 6 and len(result["completion"].split()) == 5
    assert len("".join(result["stream_pieces"]).split()) == 6
    assert len(result["stream_pieces"]) > 1, "the stream came in one piece"
    assert result["embedding_length"] > 0
    assert result["error"]["code"] == "model_not_found"

    status, headers, text = ask(r1, stream=True)
    assert status == 200 and "data: [DONE]" in text
    assert headers["x-dualmesh-handed-to"] == "r2" and headers["x-dualmesh-reason"] == "handed"
    assert headers["x-dualmesh-instance"] in ("e1", "e2")
    assert handed(mesh, r1) - before == 5
    newest = mesh.ask(r1, "decisions", "--last", "1")[0]
    assert (newest["handed_to"], newest["reason"], newest["outcome"]) == ("r2", "handed", "finished")
    assert metric(mesh, r2, "dualmesh_requests_handed_here_total") >= 5
    assert handed(mesh, r2) == 0


def test_the_mark_of_a_hop_from_outside_does_no_more_than_keep_a_request_here(mesh):
    r1, r2 = mesh.nodes
    cut_off(mesh, r1, mesh.engines)
    wait_until(lambda: "would be handed to node r2" in explained(mesh, r1), 5.0, "r2 could help")
    before = handed(mesh, r1)
    for mark in ("r2", "r1", "", "anybody, twice"):
        status, _, text = ask(r1, {MARK: mark})
        assert status == 502 and json.loads(text)["error"]["code"] == "upstream_failed"
        assert ask(r2, {MARK: mark})[0] == 200
    assert handed(mesh, r1) == before
    assert ask(r1)[0] == 200


def test_a_burst_at_a_node_that_reaches_half_uses_the_other_half_as_well(mesh):
    r1 = mesh.nodes[0]
    e2 = mesh.engines[1]
    cut_off(mesh, r1, [e2])
    before, back = handed(mesh, r1), handed_back(mesh, r1)
    replay = mesh.start_replay([r1], requests=60, qps=12, name="half")
    finish_clean(replay)
    count = handed(mesh, r1) - before
    print(f"{count:.0f} of 60 requests were handed over")
    assert count > 0
    assert handed_back(mesh, r1) == back


def test_a_hop_to_a_node_that_has_died_comes_back(mesh):
    r1, r2 = mesh.nodes
    cut_off(mesh, r1, mesh.engines)
    wait_until(lambda: "would be handed to node r2" in explained(mesh, r1), 5.0, "r2 could help")
    back = handed_back(mesh, r1)
    r2.process.kill()
    status, _, text = ask(r1)  # nobody has told r1 yet
    assert status == 502, text
    assert handed_back(mesh, r1) == back + 1
    mesh.network.heal()
    r2.start()
    r2.wait_ready()
    wait_until(lambda: ask(r1)[0] == 200, 15.0, "r1 serves by itself")


def readiness(node):
    """(status, what /ready says)"""
    status, text = http_get(f"http://{node.http}/ready")
    return status, json.loads(text)


def test_a_node_that_alone_reaches_no_instance_is_not_ready(mesh):
    r1, r2 = mesh.nodes
    assert readiness(r1) == (200, {"ready": True, "instances": {"active": 2, "healthy": 2}})
    cut_off(mesh, r1, [mesh.engines[0]])
    assert readiness(r1) == (200, {"ready": True, "instances": {"active": 2, "healthy": 1}})
    cut_off(mesh, r1, mesh.engines)
    wait_until(lambda: readiness(r1)[0] == 503, 10.0, "r1 says so to its load balancer")
    assert readiness(r1)[1] == {
        "ready": False, "why_not": "no instance answers this node; node r2 reaches 2",
        "instances": {"active": 2, "healthy": 0}}
    assert readiness(r2)[0] == 200
    # Where nobody reaches any, a balancer without nodes would help nobody.
    cut_off(mesh, r2, mesh.engines)
    wait_until(lambda: readiness(r1)[0] == 200, 10.0, "no node is better than another")
    assert readiness(r2) == (200, {"ready": True, "instances": {"active": 2, "healthy": 0}})
    assert json.loads(ask(r1)[2])["error"]["code"]
