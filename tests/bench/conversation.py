"""dualmesh and DualMap beside round robin on equal meshes: the Mooncake conversation trace against
8 simulated instances behind 3 nodes, each policy on nodes and instances of its own."""

import json
import os

from figures import Figure
from mesh import LocalMesh, instance_flags, seed_flags, time_flags
from traces import trace_file

NODES = 3
INSTANCES = 8
# Engines run this many times as fast as real ones; results are in the engines' own seconds.
SPEED = float(os.environ.get("DUALMESH_BENCH_SPEED", "4"))
QPS = float(os.environ.get("DUALMESH_BENCH_QPS", "6.5"))
REQUESTS = int(os.environ.get("DUALMESH_BENCH_REQUESTS", "2500"))
WARMUP = 500
POLICIES = ("round_robin", "dualmap", "dualmesh")


def replay(mesh, trace, policy):
    """One replay on fresh instances, so that no policy inherits the caches of another."""
    results = mesh.directory / f"{policy}.json"
    process = mesh.spawn(f"replay-{policy}", [
        mesh.program("dualmesh-replay"), "live",
        "--target", ",".join(node.http for node in mesh.nodes),
        "--trace", trace, "--requests", REQUESTS, "--warmup", WARMUP, "--qps", QPS,
        "--speed", SPEED, "--model", "sim", "--slo-ttft", 5, "--max-input", 20480,
        "--scrape", ",".join(engine.address for engine in mesh.engines), "--json", results])
    status = process.wait(1800)
    if not results.exists():
        raise RuntimeError(f"replay ended with status {status}: {process.log_tail()}")
    return json.loads(results.read_text())


def run_policy(trace, policy):
    with LocalMesh() as mesh:
        for index in range(INSTANCES):
            mesh.add_engine(f"engine-{index + 1}", f"127.0.44.{index + 1}", speed=SPEED)
        for engine in mesh.engines:
            engine.wait_ready()
        hosts = [f"127.0.43.{index}" for index in range(1, NODES + 1)]
        for index, host in enumerate(hosts):
            mesh.add_node(f"node-{index + 1}", host,
                          seed_flags(hosts) + instance_flags(mesh.engines) + time_flags(SPEED))
        for node in mesh.nodes:
            node.wait_ready(30)
        done = mesh.ctl(mesh.nodes[0], "policy", "set", policy)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        done = mesh.ctl(mesh.nodes[0], "wait-converged", "--timeout", "10s")
        if done.returncode != 0:
            raise RuntimeError(done.stdout + done.stderr)
        return replay(mesh, trace, policy)


def conversation():
    trace = trace_file("conversation_trace.jsonl")
    if trace is None:
        raise RuntimeError("conversation_trace.jsonl is not here; DUALMESH_TRACES names its folder "
                           "(the README says where to download it)")
    found = {policy: run_policy(trace, policy) for policy in POLICIES}
    figures = []
    for policy, result in found.items():
        void = "void: engine timers were late" if result["void"] else ""
        figures += [
            Figure(f"conversation, {policy}: SLO attainment", result["slo_attainment"], "", note=void),
            Figure(f"conversation, {policy}: hit ratio", result["hit_ratio"], "", note=void),
            Figure(f"conversation, {policy}: TTFT mean", result["ttft_mean"], "s", note=void),
            Figure(f"conversation, {policy}: TTFT p50", result["ttft_p50"], "s", note=void),
            Figure(f"conversation, {policy}: TTFT p99", result["ttft_p99"], "s", note=void),
            Figure(f"conversation, {policy}: load CV", result["load_cv"], "", note=void),
            Figure(f"conversation, {policy}: failed", result["failed"] + result["rejected"], "", 0)]
    base, ours = found["round_robin"], found["dualmesh"]
    ratios = [("attainment", ours["slo_attainment"] / max(base["slo_attainment"], 1e-9), False),
              ("hit ratio", ours["hit_ratio"] / max(base["hit_ratio"], 1e-9), False),
              ("TTFT mean", ours["ttft_mean"] / base["ttft_mean"], True)]
    figures += [Figure(f"conversation, dualmesh / round_robin: {name}", value, "ratio", 1.0, at_most)
                for name, value, at_most in ratios]
    return figures
