"""Nodes and dualmeshctl under mutual TLS: who is let in, who is not, certificates renewed in place."""

import http.client
import subprocess

import pytest
from cluster import ROOT, chat_body, post, wait_until


def make_certificates(directory, *names):
    subprocess.run([ROOT / "deploy" / "make-certificates", directory, *names], check=True,
                   stdout=subprocess.DEVNULL)


def tls_flags(directory, name):
    return ["--mesh.tls.ca", directory / "ca.crt", "--mesh.tls.certificate",
            directory / f"{name}.crt", "--mesh.tls.key", directory / f"{name}.key",
            "--mesh.tls.check_interval_ms", "100"]


def as_administrator(monkeypatch, directory):
    """What dualmeshctl shows from now on; None: nothing."""
    for variable, file in (("CA", "ca.crt"), ("CERTIFICATE", "admin.crt"), ("KEY", "admin.key")):
        if directory is None:
            monkeypatch.delenv(f"DUALMESH_{variable}")
        else:
            monkeypatch.setenv(f"DUALMESH_{variable}", str(directory / file))


@pytest.fixture(name="secured")
def secured_fixture(make_cluster, monkeypatch):
    """Three nodes with certificates, and the folder of those."""
    cluster = make_cluster()
    directory = cluster.directory / "certificates"
    make_certificates(directory, "r1", "r2", "r3")
    as_administrator(monkeypatch, directory)
    cluster.start(nodes=3, engines=2, flags_of=lambda name: tls_flags(directory, name))
    return cluster, directory


def log_of(node):
    with open(node.process.log_path, encoding="utf-8") as log:
        return log.read()


def metric(node, name):
    host, port = node.http.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("GET", "/metrics")
    for line in connection.getresponse().read().decode().splitlines():
        if line.startswith(name + " "):
            return float(line.split()[-1])
    return None


def test_only_certificates_of_the_meshs_ca_are_let_in(secured, monkeypatch):
    cluster, directory = secured
    r1, r2, r3 = cluster.nodes
    assert {name: m["status"] for name, m in cluster.members(r1).items()} == {
        "r1": "alive", "r2": "alive", "r3": "alive"}
    assert post(r2.http, "/v1/chat/completions", chat_body())[0] == 200
    wait_until(lambda: metric(r1, "dualmesh_mesh_certificate_expiry_seconds") is not None, 5.0,
               "the metrics tell when the certificate expires")
    days = metric(r1, "dualmesh_mesh_certificate_expiry_seconds") / 86400
    assert 364 < days <= 365

    as_administrator(monkeypatch, None)
    plain = cluster.ctl(r1, "members")
    assert plain.returncode == 2 and "--certificate" in plain.stderr, plain.stderr
    other = cluster.directory / "others"
    make_certificates(other, "r4")
    as_administrator(monkeypatch, other)
    stranger = cluster.ctl(r1, "members")
    assert stranger.returncode == 2, stranger.stdout
    assert "not signed by the CA of this mesh" in stranger.stderr, stranger.stderr
    as_administrator(monkeypatch, directory)

    def plain_counted():
        return metric(r1, 'dualmesh_mesh_refusals_total{reason="tls"}') >= 1

    wait_until(plain_counted, 5.0, "the plain connection is counted")
    # A node of another CA stays outside, and says why.
    stranger = cluster.add_node("r4", cluster.node_host(3), [
        "--mesh.seeds", r1.mesh_address, *tls_flags(other, "r4")])
    wait_until(lambda: "not signed by the CA of this mesh" in log_of(stranger), 10.0,
               "the stranger is refused")
    assert not stranger.ready()
    assert set(cluster.members(r1)) == {"r1", "r2", "r3"}
    cluster.nodes.remove(stranger)
    stranger.process.stop()
    cluster.wait_converged()
    assert r3.ready()


def test_a_certificate_for_another_name_or_time_does_not_start(secured):
    cluster, directory = secured
    r1 = cluster.nodes[0]

    def refused_start(name, flags):
        node = cluster.add_node(name, cluster.node_host(len(cluster.nodes)),
                                ["--mesh.seeds", r1.mesh_address, *flags])
        cluster.nodes.remove(node)
        assert node.process.wait(10.0) == 1
        return log_of(node)

    assert "is the certificate of 'r3'" in refused_start("r7", tls_flags(directory, "r3"))
    # An administrator's is for clients alone.
    assert "a client's, not a node's" in refused_start("admin", tls_flags(directory, "admin"))
    make_certificates("--days", "0", directory, "r8")
    log = refused_start("r8", tls_flags(directory, "r8"))
    assert "'r8' expired on 20" in log, log
    assert "mesh.tls" in refused_start("r9", tls_flags(directory, "r9"))


def test_certificates_are_renewed_while_the_mesh_runs(secured):
    cluster, directory = secured
    r1, r2, _ = cluster.nodes
    make_certificates(directory, "r1", "r2", "r3")
    for node in cluster.nodes:
        wait_until(lambda n=node: "a new certificate is in use" in log_of(n), 10.0,
                   f"{node.name} takes its new certificate")
        assert "lost the link" not in log_of(node)
    # Whoever comes now is greeted with the new ones.
    r2.process.kill()
    r2.start()
    r2.wait_ready()
    cluster.wait_converged()

    # A broken file is refused, and the certificate in use stays.
    (directory / "r1.crt").write_text("-----BEGIN CERTIFICATE-----\nhalf a fi")
    wait_until(lambda: "the new certificate is not taken" in log_of(r1), 10.0, "r1 refuses it")
    r2.process.kill()
    r2.start()
    r2.wait_ready()
    cluster.wait_converged()
    make_certificates(directory, "r1")
    wait_until(lambda: log_of(r1).count("a new certificate is in use") == 2, 10.0,
               "r1 takes the repaired file")
    cluster.wait_converged()
