"""Whatever a client sends: a clear 4xx in OpenAI's shape or a good answer, and no stuck counter."""

import json
import socket

import pytest
from cluster import MODEL, chat_body, post, wait_until

MAX_BODY = 64 * 1024
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


@pytest.fixture(name="cluster", scope="module")
def cluster_fixture():
    from cluster import Cluster
    with Cluster(flags=["--http.max_body_bytes", str(MAX_BODY)]) as cluster:
        cluster.keep_logs = False
        yield cluster.start(nodes=1, engines=2, flags_of=lambda _: ["--mesh.alone", "true"])


def image_part():
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


REFUSED = {
    "no JSON": (CHAT, "{", 400),
    "empty body": (CHAT, "", 400),
    "an array": (CHAT, "[]", 400),
    "a number": (CHAT, "17", 400),
    "bad UTF-8": (CHAT, b'{"model":"sim","messages":[{"role":"user","content":"\xff\xfe"}]}', 400),
    "trailing garbage": (CHAT, json.dumps(chat_body()) + "}", 400),
    "no model": (CHAT, {"messages": [{"role": "user", "content": "x"}]}, 400),
    "model not a text": (CHAT, chat_body() | {"model": 7}, 400),
    "unknown model": (CHAT, chat_body() | {"model": "nope"}, 404),
    "too large": (CHAT, chat_body("x" * MAX_BODY), 413),
    "deeply nested": (CHAT, '{"model":"sim","messages":' + "[" * 5000 + "]" * 5000 + "}", 400),
}

ACCEPTED = {
    "text": (CHAT, chat_body("plain")),
    "content parts": (CHAT, chat_body([{"type": "text", "text": "part"}])),
    "parts with an image": (CHAT, chat_body([{"type": "text", "text": "what is it?"},
                                             image_part()])),
    "system and tools": (CHAT, chat_body() | {
        "messages": [{"role": "system", "content": "be brief"},
                     {"role": "user", "content": "weather?"},
                     {"role": "assistant", "content": None, "tool_calls": [
                         {"id": "c1", "type": "function",
                          "function": {"name": "weather", "arguments": "{}"}}]},
                     {"role": "tool", "tool_call_id": "c1", "content": "rain"}],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": {}}}]}),
    "escapes": (CHAT, chat_body("quote \" backslash \\ newline \n nul \u0000 emoji \U0001f600")),
    "prompt text": (COMPLETIONS, {"model": MODEL, "prompt": "one", "max_tokens": 2}),
    "prompt tokens": (COMPLETIONS, {"model": MODEL, "prompt": [1, 2, 3], "max_tokens": 2}),
    "responses": ("/v1/responses", {"model": MODEL, "input": "one", "max_output_tokens": 16}),
    "response parts": ("/v1/responses", {"model": MODEL, "max_output_tokens": 16, "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "one"}]}]}),
    "embeddings": ("/v1/embeddings", {"model": MODEL, "input": ["a", "b"]}),
}

# The engine may or may not take these; the router must pass them on and survive the answer.
PASSED_ON = {
    "several prompts": (COMPLETIONS, {"model": MODEL, "prompt": ["one", "two"], "max_tokens": 2}),
    "several token arrays": (COMPLETIONS, {"model": MODEL, "prompt": [[1, 2], [3]],
                                           "max_tokens": 2}),
    "empty prompt": (COMPLETIONS, {"model": MODEL, "prompt": "", "max_tokens": 2}),
    "no messages": (CHAT, {"model": MODEL, "messages": []}),
    "messages not a list": (CHAT, {"model": MODEL, "messages": "hi"}),
    "content not a text": (CHAT, chat_body(17)),
    "negative max_tokens": (CHAT, chat_body(max_tokens=-1)),
    "unknown endpoint": ("/v1/no/such/thing", {"model": MODEL}),
}


def assert_openai_error(text):
    error = json.loads(text)["error"]
    assert error["message"] and isinstance(error["message"], str)
    assert error["type"]


def assert_idle(cluster):
    cluster.wait_idle(5.0)
    assert cluster.nodes[0].process.alive()


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_a_reason(cluster, case):
    path, body, wanted = REFUSED[case]
    status, _, text = post(cluster.nodes[0].http, path, body)
    assert status == wanted, text
    assert_openai_error(text)
    assert_idle(cluster)


@pytest.mark.parametrize("case", ACCEPTED)
def test_answered(cluster, case):
    path, body = ACCEPTED[case]
    status, headers, text = post(cluster.nodes[0].http, path, body)
    assert status == 200, text
    names = {name.lower() for name in headers}
    assert {"x-dualmesh-node", "x-dualmesh-instance", "x-dualmesh-reason"} <= names
    json.loads(text)
    assert_idle(cluster)


@pytest.mark.parametrize("case", PASSED_ON)
def test_survived(cluster, case):
    path, body = PASSED_ON[case]
    status, _, text = post(cluster.nodes[0].http, path, body)
    assert status == 200 or 400 <= status < 500, (status, text)
    if status != 200:
        assert_openai_error(text)
    assert_idle(cluster)


@pytest.mark.parametrize("raw", [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"GET / HTTP/1.1\nHost: x\n\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1,1\r\n\r\nxx",
    b"GET /v1/models HTTP/1.1\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
], ids=["TLS", "bare LF", "two framings", "two lengths", "no Host", "long line"])
def test_bad_http_is_refused_and_closed(cluster, raw):
    host, port = cluster.nodes[0].http.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as client:
        try:
            client.sendall(raw)
            answer = b""
            while piece := client.recv(65536):
                answer += piece
        except ConnectionError:
            pass
    assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer[:100]
    assert_idle(cluster)


def test_clients_that_go_away_leave_nothing_behind(cluster):
    host, port = cluster.nodes[0].http.rsplit(":", 1)
    body = json.dumps(chat_body("long", stream=True, max_tokens=100_000)).encode()
    head = (f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode()
    for sent, read in ((head[:40], 0), (head, 0), (head + body[:10], 0), (head + body, 1)):
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(sent)
            if read:
                assert client.recv(65536).startswith(b"HTTP/1.1 200")
    assert_idle(cluster)
    for engine in cluster.engines:
        wait_until(lambda e=engine: running(e) == 0, 5.0, f"{engine.name} has stopped generating")


def running(engine):
    for line in engine.metrics().splitlines():
        if line.startswith("vllm:num_requests_running"):
            return float(line.rsplit(" ", 1)[1])
    raise AssertionError("the engine does not say what it runs")
