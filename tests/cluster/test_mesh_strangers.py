"""Who knocks at a node's mesh port and does not belong there, under mutual TLS and without it.

The callers are sockets of this test. They hold certificates that a misconfigured or a malicious node
could hold, and say what a recorded node said (tests/net/wire): hello, I am n0.
"""

import socket
import ssl
import struct

import pytest
from checks import statuses
from cluster import ROOT, chat_body, post, wait_until
from test_mesh_tls import as_administrator, log_of, make_certificates, metric, tls_flags

RECORDED = ROOT / "tests" / "net" / "wire" / "protocol-2.wire"
TO_CALLEE = 0


@pytest.fixture(name="secured", scope="module")
def secured_fixture():
    """Two nodes with certificates, shared by the tests of this file, and the folder of those."""
    from cluster import Cluster
    with pytest.MonkeyPatch.context() as environment, Cluster() as cluster:
        cluster.keep_logs = False
        directory = cluster.directory / "certificates"
        make_certificates(directory, "r1", "r2", "r3")
        as_administrator(environment, directory)
        yield cluster.start(nodes=2, engines=1,
                            flags_of=lambda name: tls_flags(directory, name)), directory


def greeting():
    """What a caller said before the first answer: Cap'n Proto's beginning, and hello."""
    recorded, said = RECORDED.read_bytes(), b""
    while recorded and recorded[0] == TO_CALLEE:
        size = struct.unpack("<I", recorded[1:5])[0]
        said += recorded[5:5 + size]
        recorded = recorded[5 + size:]
    assert said
    return said


def call(node, directory, name, enough):
    """Greets with that certificate; what came back until it holds `enough` or the node hung up."""
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    context.check_hostname = False
    if name is not None:
        context.load_cert_chain(directory / f"{name}.crt", directory / f"{name}.key")
    host, port = node.mesh_address.rsplit(":", 1)
    heard = b""
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        try:
            with context.wrap_socket(plain) as secured:
                secured.sendall(greeting())
                while enough not in heard and (piece := secured.recv(65536)):
                    heard += piece
        except (ssl.SSLError, ConnectionError) as ended:
            return heard + str(ended).encode()
    return heard


def refused(node, reason):
    return metric(node, f'dualmesh_mesh_refusals_total{{reason="{reason}"}}')


def counted_before(node, reason):
    """The node has metrics of its mesh from its first second on."""
    wait_until(lambda: refused(node, reason) is not None, 5.0, "there are metrics")
    return refused(node, reason)


def wait_counted(node, reason, before):
    wait_until(lambda: refused(node, reason) > before, 10.0, f"{node.name} counts {reason}")


def assert_untouched(cluster):
    for node in cluster.nodes:
        assert statuses(cluster, node) == {"r1": "alive", "r2": "alive"}
        assert post(node.http, "/v1/chat/completions", chat_body())[0] == 200


@pytest.mark.parametrize("certificate", ["r3", "admin"])
def test_a_hello_in_a_name_that_the_certificate_does_not_bear_is_refused(secured, certificate):
    cluster, directory = secured
    r1 = cluster.nodes[0]
    before = counted_before(r1, "identity")
    complaint = f"it calls itself 'n0', but its certificate is that of '{certificate}'"
    assert complaint.encode() in call(r1, directory, certificate, complaint.encode())
    wait_counted(r1, "identity", before)
    told = cluster.ask(r1, "status")["refusals"]
    assert any(complaint in line for line in told), told
    assert_untouched(cluster)


@pytest.mark.parametrize("name, reason, complaint", [
    ("late", "certificate", "the certificate of 'late' expired on 20"),
    (None, "tls", "the other side showed no certificate")])
def test_a_caller_with_an_expired_certificate_or_none_is_refused(secured, name, reason, complaint):
    cluster, directory = secured
    r1 = cluster.nodes[0]
    make_certificates("--days", "0", "--admin", "late-admin", directory, "late")
    before = counted_before(r1, reason)
    assert b"alert" in call(r1, directory, name, b"alert")
    wait_counted(r1, reason, before)
    wait_until(lambda: complaint in log_of(r1), 5.0, "the log says what is wrong with it")
    assert_untouched(cluster)


def test_a_plain_node_cannot_join_a_mesh_with_certificates(secured, monkeypatch):
    cluster, directory = secured
    r1 = cluster.nodes[0]
    before = counted_before(r1, "tls")
    plain = cluster.add_node("r4", cluster.node_host(3), ["--mesh.seeds", r1.mesh_address])
    cluster.nodes.remove(plain)
    wait_counted(r1, "tls", before)
    wait_until(lambda: "the other side does not speak TLS" in log_of(r1), 5.0, "r1 says why")
    as_administrator(monkeypatch, None)
    assert not cluster.ask(plain, "status")["ready"]
    as_administrator(monkeypatch, directory)
    plain.process.stop()
    assert_untouched(cluster)


def test_a_node_with_certificates_cannot_join_a_plain_mesh(secured, make_cluster, monkeypatch):
    _, directory = secured
    as_administrator(monkeypatch, None)
    cluster = make_cluster().start(nodes=1, engines=1, flags_of=lambda _: ["--mesh.alone", "true"])
    r1 = cluster.nodes[0]
    before = counted_before(r1, "framing")
    stranger = cluster.add_node("r3", cluster.node_host(3), [
        "--mesh.seeds", r1.mesh_address, *tls_flags(directory, "r3")])
    cluster.nodes.remove(stranger)
    wait_counted(r1, "framing", before)
    wait_until(lambda: "it speaks TLS, and there is no certificate here" in log_of(r1), 5.0,
               "r1 says what came")
    wait_until(lambda: "the other side does not speak TLS" in log_of(stranger), 5.0,
               "so does the stranger")
    assert not stranger.ready()
    assert statuses(cluster, r1) == {"r1": "alive"}
