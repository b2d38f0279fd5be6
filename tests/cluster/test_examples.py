"""Every example in deploy/examples is read by what it is for."""

import configparser
import os
import re
import shutil
import subprocess

import pytest
import yaml
from cluster import ROOT, Cluster

EXAMPLES = ROOT / "deploy" / "examples"
UNITS = sorted(EXAMPLES.glob("*.service"))


def dualmeshd(*arguments):
    cluster = Cluster()
    shutil.rmtree(cluster.directory)
    return subprocess.run([str(cluster.program("dualmeshd")), *map(str, arguments)],
                          capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_configurations_are_accepted(path):
    # The defaults name no other node; a real configuration has to.
    alone = ["--mesh.alone", "true"] if path.name == "dualmeshd-all.toml" else []
    done = dualmeshd("--check-config", "--config", path, *alone)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_bad_configuration_is_refused_with_its_place(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('[node]\nname = "a"\n[http]\nlisten = "nowhere"\n')
    done = dualmeshd("--check-config", "--config", path)
    assert done.returncode != 0
    assert "bad.toml:4" in done.stdout + done.stderr


def test_the_commented_configuration_is_what_the_program_prints():
    printed = dualmeshd("--print-config")
    assert printed.returncode == 0, printed.stderr
    assert (EXAMPLES / "dualmeshd-all.toml").read_text() == printed.stdout, \
        "make it anew: build/bin/dualmeshd --print-config > deploy/examples/dualmeshd-all.toml"


def test_the_zone_holds_one_name_with_several_addresses():
    text = (EXAMPLES / "llm.example.org.zone").read_text()
    if shutil.which("named-checkzone"):
        subprocess.run(["named-checkzone", "example.org", EXAMPLES / "llm.example.org.zone"],
                       check=True)
    assert re.search(r"^@\s+IN\s+SOA\s", text, re.MULTILINE)
    records = re.findall(r"^(\S+)\s+(\d+)\s+IN\s+A\s+(\d+\.\d+\.\d+\.\d+)$", text, re.MULTILINE)
    assert len({address for name, _, address in records if name == "llm"}) == 3
    assert all(int(ttl) <= 30 for _, ttl, _ in records), "a long TTL keeps dead nodes in use"


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_are_read_by_systemd(path, tmp_path):
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(path)
    program = unit["Service"]["ExecStart"].split()[0]
    assert (program.rsplit("/", 1)[1] in ("dualmeshd", "dualmesh-engine")
            and unit["Install"]["WantedBy"] == "multi-user.target")
    if not shutil.which("systemd-analyze"):
        return
    # Verified as an instance of the template, with a program that exists on this machine.
    copy = tmp_path / path.name.replace("@.", "@example.")
    copy.write_text(path.read_text().replace(program, "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert copy.name not in done.stderr, done.stderr


def test_compose_starts_three_routers_under_one_alias():
    document = yaml.safe_load((EXAMPLES / "compose.yaml").read_text())
    services = document["services"]
    routers = {name: s for name, s in services.items() if name.startswith("router-")}
    engines = [name for name in services if name.startswith("engine-")]
    assert len(routers) == 3 and len(engines) == 2
    for name, service in routers.items():
        assert service["networks"]["default"]["aliases"] == ["dualmesh"]
        assert service["environment"]["NAME"] == name
        command = service["entrypoint"][2].replace("$$NAME", name).split()
        done = dualmeshd("--check-config", *command[2:])
        assert done.returncode == 0, done.stdout + done.stderr
    for name in engines:
        assert services[name]["command"][0] == "dualmesh-engine"


def test_the_readme_s_one_node_in_front_of_two_engines_runs_as_printed(make_cluster, tmp_path):
    cluster = make_cluster()
    engines = [cluster.new_engine(), cluster.new_engine()]
    http, mesh = (f"{cluster.node_host(0)}:{port}" for port in (8080, 7000))
    readme = (ROOT / "README.md").read_text()
    passage = re.search(r"^cat > one.toml.*?^dualmeshctl decisions.*?$", readme,
                        re.DOTALL | re.MULTILINE).group()
    for theirs, ours in [("127.0.0.1:8080", http), ("127.0.0.1:8001", engines[0].address),
                         ("127.0.0.1:8002", engines[1].address),
                         ("mesh.alone = true", f'mesh.alone = true\nmesh.listen = "{mesh}"')]:
        assert theirs in passage
        passage = passage.replace(theirs, ours)
    environment = dict(os.environ, DUALMESH_NODE=mesh,
                       PATH=f"{cluster.program('dualmeshd').parent}:{os.environ['PATH']}")
    done = subprocess.run(["bash", "-e", "-c", passage + "\nkill %1; wait %1"], cwd=tmp_path,
                          env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"id":"sim"' in done.stdout and "HTTP/1.1 200 OK" in done.stdout, done.stdout
    assert re.search(r"^x-dualmesh-instance: gpu-[12]", done.stdout, re.MULTILINE), done.stdout
    for name in ("gpu-1", "gpu-2"):
        assert re.search(rf"^{name} +\S+ +sim +active ", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^ *\d+ +\S+ m?s +sim .* finished$", done.stdout, re.MULTILINE), done.stdout
