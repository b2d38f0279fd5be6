"""Clients over TLS: the official client against its own CA, certificates renewed under load."""

import http.client
import json
import socket
import ssl
import subprocess
import threading

import pytest
from cluster import MODEL, NAME, chat_body, wait_until
from sdk import run_client
from test_mesh_tls import log_of, make_certificates, metric

TLS_PORT = 8443


@pytest.fixture(name="secured")
def secured_fixture(make_cluster):
    """Two nodes that listen with TLS as well, by one certificate for the name of them all."""
    cluster = make_cluster()
    directory = cluster.directory / "certificates"
    make_certificates(directory, NAME)

    def flags_of(name):
        return ["--http.tls.listen", f"{cluster.node_host(int(name[1:]) - 1)}:{TLS_PORT}",
                *tls_flags(directory)]

    cluster.start(nodes=2, engines=2, flags_of=flags_of)
    return cluster, directory


def tls_flags(directory):
    return ["--http.tls.certificate", directory / f"{NAME}.crt",
            "--http.tls.key", directory / f"{NAME}.key", "--http.tls.check_interval_ms", "50"]


class Client:
    """One connection that verifies the name and the CA."""

    def __init__(self, node, directory):
        context = ssl.create_default_context(cafile=directory / "ca.crt")
        self._connection = http.client.HTTPSConnection(node.host, TLS_PORT, timeout=30,
                                                       context=context)
        raw = socket.create_connection((node.host, TLS_PORT), timeout=30)
        self._connection.sock = context.wrap_socket(raw, server_hostname=NAME)

    def serial(self):
        return self._connection.sock.getpeercert()["serialNumber"]

    def ask(self):
        self._connection.request("POST", "/v1/chat/completions", json.dumps(chat_body()),
                                 {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    def close(self):
        self._connection.close()


def test_the_official_client_over_tls(secured, monkeypatch):
    cluster, directory = secured
    cluster.start_dns()
    monkeypatch.setenv("SSL_CERT_FILE", str(directory / "ca.crt"))
    result = run_client(cluster, "tour", base_url=f"https://{NAME}:{TLS_PORT}/v1")
    assert len(result["chat"].split()) == 6
    assert len("".join(result["stream_pieces"]).split()) == 6
    assert len(result["stream_pieces"]) > 1, "the stream came in one piece"
    assert result["models"] == [MODEL]
    assert result["error"]["status"] == 404
    # Another CA's certificate is not taken, so what was taken above was verified.
    other = cluster.directory / "others"
    make_certificates(other, "nobody")
    monkeypatch.setenv("SSL_CERT_FILE", str(other / "ca.crt"))
    refused = run_client(cluster, "spread", "1", name="stranger",
                         base_url=f"https://{NAME}:{TLS_PORT}/v1")
    assert len(refused["errors"]) == 1 and "Connection error" in refused["errors"][0]
    cluster.wait_idle()


def test_certificates_are_renewed_under_load_without_a_failed_request(secured):
    cluster, directory = secured
    node = cluster.nodes[0]
    stop = threading.Event()
    failures, answered, serials = [], [], set()

    def load(fresh):
        client = None
        while not stop.is_set():
            try:
                client = client or Client(node, directory)
                serials.add(client.serial())
                assert client.ask() == 200
                answered.append(fresh)
                if fresh:
                    client.close()
                    client = None
            except Exception as caught:  # pylint: disable=broad-except
                failures.append(repr(caught))
                client = None

    threads = [threading.Thread(target=load, args=(index % 2 == 0,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for count in range(1, 4):
        make_certificates(directory, NAME)
        wait_until(lambda n=count: log_of(node).count("http.tls: a new certificate is in use") == n,
                   10.0, "the node takes its new certificate")
        wait_until(lambda n=count: len(serials) == n + 1, 10.0, "new connections are shown it")
    # A broken file is refused, and what is in use stays in use.
    (directory / f"{NAME}.crt").write_text("-----BEGIN CERTIFICATE-----\nhalf a fi")
    wait_until(lambda: metric(node, "dualmesh_http_certificate_files_refused") == 1, 10.0,
               "the node refuses it")
    assert "the old one stays" in log_of(node)
    done = len(answered)
    wait_until(lambda: len(answered) > done + 20, 10.0, "requests go on")
    make_certificates(directory, NAME)
    wait_until(lambda: metric(node, "dualmesh_http_certificate_files_refused") == 0, 10.0,
               "the node takes the repaired file")
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]
    assert {True, False} <= set(answered)
    assert 364 < metric(node, "dualmesh_http_certificate_expiry_seconds") / 86400 <= 365
    assert metric(node, 'dualmesh_http_tls_handshakes_total{end="failed"}') == 0
    cluster.wait_idle()


def test_a_key_of_another_certificate_does_not_start(make_cluster):
    cluster = make_cluster()
    directory = cluster.directory / "certificates"
    make_certificates(directory, "one", "two")
    flags = ["--mesh.alone", "true", "--http.tls.listen", "127.0.0.1:0",
             "--http.tls.certificate", directory / "one.crt", "--http.tls.key"]

    def checked(key):
        argv = [cluster.program("dualmeshd"), "--check-config", *flags, directory / key]
        return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)

    assert checked("one.key").returncode == 0
    wrong = checked("two.key")
    assert wrong.returncode == 2
    assert "http.tls: " in wrong.stderr and "not the key of the certificate" in wrong.stderr
    assert "the key cannot be read" in checked("three.key").stderr
    half = subprocess.run([cluster.program("dualmeshd"), "--check-config", *flags[:4]],
                          capture_output=True, text=True, timeout=30, check=False)
    assert "belong together" in half.stderr, half.stderr
