"""The simulator against real processes: the same requests and the same policy give the same figures.

Prompts have the same blocks in both, but other hashes of them, so the rings lead elsewhere: one live
run is compared with the mean of simulated ones whose rings differ.
"""

import csv
import json
import random
import statistics
import subprocess
import time

import pytest
from cluster import chat_body, post

INSTANCES = 4
SPEED = 4.0
REQUESTS = 420
WARMUP = 70
QPS = 5.0
BLOCK_TOKENS = 512
CACHE_BLOCKS = 400
LAYOUTS = 16
ITERATION_MS = 25.0  # of an engine that has little to do

HIT_RATIO_POINTS = 0.02
TTFT_SHARE = 0.15


def write_trace(path, seed=5, turns=4, think_s=20.0):
    """Conversations that begin with one of four system prompts, in the format of Mooncake."""
    draw = random.Random(seed)
    lines, begins_s, fresh = [], 0.0, 1000
    while len(lines) < 1.6 * REQUESTS:
        begins_s += draw.expovariate(QPS / turns)
        system = draw.randrange(4)
        blocks, context, at_s = [2 * system, 2 * system + 1], 2 * BLOCK_TOKENS, begins_s
        for _ in range(1 + int(draw.expovariate(1 / turns))):
            context += 64 + int(draw.expovariate(1 / 900))
            while len(blocks) * BLOCK_TOKENS < context:
                blocks.append(fresh)
                fresh += 1
            output = 8 + int(draw.expovariate(1 / 120))
            lines.append({"timestamp": round(1000 * at_s), "input_length": context,
                          "output_length": output, "hash_ids": list(blocks)})
            context += output
            at_s += 2 + draw.expovariate(1 / think_s)
    lines.sort(key=lambda line: line["timestamp"])
    settled = len(lines) // 8  # the first conversations meet no others
    path.write_text("".join(json.dumps(line) + "\n" for line in lines[settled:settled + REQUESTS]))
    return path


def start_cluster(make_cluster, policy):
    return make_cluster(
        speed=SPEED, flags=["--routing.policy", policy, "--residency.capacity_blocks", CACHE_BLOCKS],
        engine_flags=["--block-tokens", BLOCK_TOKENS, "--cache-tokens", CACHE_BLOCKS * BLOCK_TOKENS],
    ).start(nodes=1, engines=INSTANCES)


def round_trip_ms(cluster):
    """Client to instance and back, in the engines' milliseconds: what no engine model knows of."""
    took_s = []
    for _ in range(15):
        began = time.monotonic()
        status, _, _ = post(cluster.nodes[0].http, "/v1/chat/completions", chat_body(max_tokens=1))
        took_s.append(time.monotonic() - began)
        assert status == 200
    return max(0.0, 1000 * SPEED * statistics.median(took_s) - ITERATION_MS)


def run_live(cluster, trace):
    replay = cluster.start_replay(cluster.nodes, REQUESTS, QPS, workload=["--trace", trace],
                                  flags=["--warmup", WARMUP])
    return replay.finish()


def simulate(cluster, trace, policy, rtt_ms):
    """The simulated runs, one layout of the rings each."""
    rows = cluster.directory / "simulated.csv"
    subprocess.run([str(part) for part in (
        cluster.program("dualmesh-replay"), "simulate", "--trace", trace, "--requests", REQUESTS,
        "--warmup", WARMUP, "--warmup-qps", 0, "--qps", QPS, "--instances", INSTANCES,
        "--cache-blocks", CACHE_BLOCKS, "--policy", policy, "--rtt-ms", rtt_ms,
        "--seeds", LAYOUTS, "--csv", rows)], timeout=60, check=True, capture_output=True)
    with rows.open() as file:
        runs = list(csv.DictReader(file))
    assert len(runs) == LAYOUTS
    return {name: statistics.mean(float(run[name]) for run in runs)
            for name in ("requests", "completed", "preemptions", "hit_ratio", "ttft_p50",
                         "e2e_p50")}


@pytest.mark.parametrize("policy", ["round_robin", "dualmap", "dualmesh"])
def test_simulated_and_live_agree(make_cluster, tmp_path, policy):
    trace = write_trace(tmp_path / "trace.jsonl")
    for attempt in (1, 2):
        cluster = start_cluster(make_cluster, policy)
        rtt_ms = round_trip_ms(cluster)
        live = run_live(cluster, trace)
        lateness = live["timer_lateness_ratio_p99"]
        print(f"{policy}: engine timers {lateness:.1%} of an iteration late (p99), "
              f"round trip {rtt_ms:.1f} ms of the engines' time")
        if not live["void"]:
            break
        cluster.stop()
        if attempt == 2:
            pytest.skip(f"not judged: the engines' timers were late twice, {lateness:.1%} (p99)")
    simulated = simulate(cluster, trace, policy, rtt_ms)
    assert live["completed"] == live["requests"] == REQUESTS - WARMUP, live["reasons"]
    assert simulated["completed"] == simulated["requests"] == REQUESTS - WARMUP
    assert live["preemptions"] == simulated["preemptions"] == 0
    both = {name: (live[name], simulated[name]) for name in ("ttft_p50", "e2e_p50")}
    both["hit_ratio"] = (live["hit_ratio_usage"], simulated["hit_ratio"])
    print({name: f"live {ours:.4f}, simulated {theirs:.4f}" for name, (ours, theirs) in both.items()})
    assert abs(both["hit_ratio"][0] - both["hit_ratio"][1]) <= HIT_RATIO_POINTS, both
    for name in ("ttft_p50", "e2e_p50"):
        ours, theirs = both[name]
        assert abs(ours - theirs) <= TTFT_SHARE * theirs, both
