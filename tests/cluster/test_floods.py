"""Clients that mean harm, in numbers: each is refused clearly, the node stays small, and an ordinary
client beside them does not notice."""

import json
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from bystander import Bystander
from cluster import Cluster, chat_body, post, wait_until
from test_mesh_tls import log_of

MIB = 1024 * 1024
CONNECTIONS = 200
BODY_LIMIT = 4 * MIB
HELD_LIMIT = 32 * MIB
TIMEOUT_S = 2.0  # of heads, and between reads of a body
CHAT = "/v1/chat/completions"
FLAGS = ["--http.max_connections", CONNECTIONS, "--http.max_body_bytes", BODY_LIMIT,
         "--http.max_held_body_bytes", HELD_LIMIT, "--http.head_timeout_ms", int(1000 * TIMEOUT_S),
         "--http.body_timeout_ms", int(1000 * TIMEOUT_S), "--http.idle_timeout_ms", 60_000]
POST_HEAD = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n".encode()


@pytest.fixture(name="cluster", scope="module")
def cluster_fixture():
    with Cluster(flags=map(str, FLAGS)) as cluster:
        cluster.keep_logs = False
        yield cluster.start(nodes=1, engines=2, flags_of=lambda _: ["--mesh.alone", "true"])


@pytest.fixture(name="node")
def node_fixture(cluster):
    """The node, under the eyes of a bystander; afterwards it must be small, idle and alive."""
    node = cluster.nodes[0]
    pid = node.process.pid
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as peak:
        peak.write("5")  # VmHWM starts anew
    before = memory(pid, "VmRSS")
    with Bystander(node.http) as bystander:
        yield node
    print(f"memory at most {(memory(pid, 'VmHWM') - before) / MIB:+.1f} MiB; {bystander.summary()}")
    assert bystander.failures == []
    assert memory(pid, "VmHWM") - before < 2 * HELD_LIMIT + 32 * MIB
    cluster.wait_idle(10.0)
    assert node.process.alive()


def memory(pid, what):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return 1024 * int(re.search(rf"{what}:\s*(\d+) kB", status.read())[1])


def connect(node):
    host, port = node.http.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=20.0)


def read_all(client):
    answer = b""
    try:
        while piece := client.recv(65536):
            answer += piece
    except ConnectionError:
        pass
    return answer


def status_of(answer):
    """0: closed without a word."""
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0


def send_until_refused(node, head, pieces):
    """Sends while the node takes it; (status, bytes sent)."""
    sent = 0
    with connect(node) as client:
        try:
            client.sendall(head)
            client.settimeout(0.0005)
            for piece in pieces:
                try:
                    if client.recv(1, socket.MSG_PEEK):
                        break
                except TimeoutError:
                    pass
                client.settimeout(20.0)
                client.sendall(piece)
                sent += len(piece)
                client.settimeout(0.0005)
        except ConnectionError:
            pass
        client.settimeout(20.0)
        return status_of(read_all(client)), sent


def drip(clients, data, seconds):
    """One byte of `data` from each client every 50 ms, as long as it is taken."""
    end = time.monotonic() + seconds
    open_ones = list(clients)
    for byte in data:
        if time.monotonic() > end:
            return
        for client in list(open_ones):
            try:
                client.sendall(bytes([byte]))
            except ConnectionError:
                open_ones.remove(client)
        time.sleep(0.05)


def test_heads_that_come_a_byte_at_a_time(node):
    clients = [connect(node) for _ in range(150)]
    drip(clients, POST_HEAD + b"X: " + 200 * b"y", 2 * TIMEOUT_S)
    assert [status_of(read_all(client)) for client in clients] == 150 * [408]
    for client in clients:
        client.close()


def test_bodies_that_stop_coming(node):
    clients = [connect(node) for _ in range(150)]
    for client in clients:
        client.sendall(POST_HEAD + b"Content-Length: 1000\r\n\r\n{\"model\":")
    assert [status_of(read_all(client)) for client in clients] == 150 * [408]
    for client in clients:
        client.close()


def test_bodies_that_come_a_byte_at_a_time(node):
    clients = [connect(node) for _ in range(150)]
    for client in clients:
        client.sendall(POST_HEAD + b"Content-Length: 1000\r\n\r\n")
    drip(clients, 1000 * b" ", 2 * TIMEOUT_S)
    for client in clients:
        client.close()


@pytest.mark.parametrize("head, piece, status", [
    (b"GET /v1/x HTTP/1.1\r\nHost: a\r\n", 20 * b"X: y\r\n", 431),
    (b"GET /v1/x HTTP/1.1\r\nHost: a\r\nX: ", 10_000 * b"y", 431),
    (b"GET /v1/", 10_000 * b"x", 414),
], ids=["fields without end", "a field without end", "a request line without end"])
def test_heads_without_end(node, head, piece, status):
    def flood(_):
        return send_until_refused(node, head, (piece for _ in range(10_000)))

    with ThreadPoolExecutor(8) as pool:
        for answered, _ in pool.map(flood, range(32)):
            # 408: we were too slow. 0: our own sending has destroyed the answer.
            assert answered in (status, 408, 0)
    # One that does not send on sees the refusal.
    with connect(node) as client:
        client.sendall(head + (40_000 // len(piece) + 1) * piece)
        assert status_of(read_all(client)) == status


def gibibyte(chunked):
    piece = 64 * 1024 * b"x"
    if chunked:
        piece = b"10000\r\n" + piece + b"\r\n"
    return (piece for _ in range(16 * 1024))


@pytest.mark.parametrize("framing", [b"Content-Length: 1073741824\r\n\r\n",
                                     b"Transfer-Encoding: chunked\r\n\r\n"],
                         ids=["by length", "chunked"])
def test_bodies_of_a_gibibyte(node, framing):
    chunked = b"chunked" in framing

    def flood(_):
        return send_until_refused(node, POST_HEAD + framing, gibibyte(chunked))

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(flood, range(16)))
    assert {status for status, _ in found} <= {413, 503, 0}
    assert 413 in {status for status, _ in found}
    assert max(sent for _, sent in found) < 128 * MIB


def test_connections_up_to_the_limit_and_past_it(node):
    clients = [connect(node) for _ in range(CONNECTIONS + 50)]
    refused = 0
    for client in clients:
        client.settimeout(0.05)
        try:
            answer = client.recv(1000)
            refused += 1
            assert status_of(answer) in (0, 503)
        except TimeoutError:
            pass
        except ConnectionError:
            refused += 1
    assert 50 <= refused <= 60
    for client in clients:
        client.close()
    wait_until(lambda: post(node.http, CHAT, chat_body("after the flood"))[0] == 200, 10.0,
               "there is room again")


def test_connections_that_come_and_go(node):
    for number in range(1000):
        with connect(node) as client:
            if number % 2 == 0:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            if number % 3 == 0:
                client.sendall(POST_HEAD)


BODIES = {
    "bytes that are no UTF-8": (b'{"model":"sim","messages":[{"role":"user","content":"'
                                + 1000 * b"\xff\xfe" + b'"}]}', {}, {400}),
    "nested too deeply": (b'{"model":"sim","messages":' + 100_000 * b"[" + 100_000 * b"]" + b"}",
                          {}, {400}),
    "nested too deeply, never closed": (b'{"model":' + 1_000_000 * b"[", {}, {400}),
    "compressed": (b"\x1f\x8b\x08\x00" + 1000 * b"\0", {"Content-Encoding": "gzip"}, {400, 415}),
    "a million messages": (json.dumps(chat_body() | {"messages": 1_000_000 * [0]}).encode(),
                           {}, {400}),
}


@pytest.mark.parametrize("case", BODIES)
def test_bodies_nobody_can_use(node, case):
    body, fields, wanted = BODIES[case]
    with ThreadPoolExecutor(8) as pool:
        for status, _, text in pool.map(lambda _: post(node.http, CHAT, body, fields), range(50)):
            assert status in wanted, text
            assert json.loads(text)["error"]["message"]


def test_tls_hellos_where_none_is_spoken(node):
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + 500 * b"\0"
    began = time.monotonic()
    for _ in range(100):
        with connect(node) as client:
            client.sendall(hello)
            answer = read_all(client)
            assert answer.startswith(b"HTTP/1.1 400 ") and b"use http://" in answer
    print(f"{1000 * (time.monotonic() - began) / 100:.1f} ms each")
    told = "spoke TLS to http.listen"
    wait_until(lambda: told in log_of(node), 5.0, "the log says so")
    assert log_of(node).count(told) == 1, "once a minute at most"
