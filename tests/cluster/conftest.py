"""Fixtures of the cluster tests."""

import shutil

import pytest
from cluster import RUNNING, Cluster


@pytest.fixture(name="make_cluster")
def make_cluster_fixture():
    """Makes clusters that are stopped after the test, whatever happened in it."""
    made = []

    def make(**settings):
        made.append(Cluster(**settings))
        return made[-1]

    yield make
    for cluster in made:
        cluster.stop()
        shutil.rmtree(cluster.directory, ignore_errors=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(call):
    """Shows the end of every process's log beside a failure."""
    outcome = yield
    report = outcome.get_result()
    if call.when == "call" and report.failed:
        for cluster in RUNNING:
            for log in sorted(cluster.directory.glob("*.log")):
                lines = log.read_text(errors="replace").splitlines()[-25:]
                report.sections.append((log.name, "\n".join(lines)))
