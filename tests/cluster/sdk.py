"""Runs openai_client.py against a cluster's DNS name."""

import json
import sys
from pathlib import Path

from cluster import HTTP_PORT, MODEL, NAME


BASE_URL = f"http://{NAME}:{HTTP_PORT}/v1"


def start_client(cluster, *command, name="openai-client", base_url=BASE_URL):
    script = Path(__file__).with_name("openai_client.py")
    return cluster.run_resolved(name, [sys.executable, script, base_url, MODEL, *command])


def finish_client(process, timeout_s=120.0):
    status = process.wait(timeout_s)
    assert status == 0, process.log_tail()
    return json.loads(Path(process.log_path).read_text().splitlines()[-1])


def run_client(cluster, *command, name="openai-client", base_url=BASE_URL):
    return finish_client(start_client(cluster, *command, name=name, base_url=base_url))
