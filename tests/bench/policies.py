"""Every policy's capacity on one simulated fleet, and a mesh of routers beside one.

A capacity is the highest rate of arrivals at which 90 % of the requests have their first token
within the SLO, nobody waits longer than a minute and nobody is turned away. Ratios are to the best
of all other policies, each in its own order of waiting, behind one router.
"""

import json
import subprocess

from figures import Figure, Skipped, trials
from mesh import ROOT
from traces import trace_file

OURS = "dualmesh"
SEEDS = 3
FLEETS = ("qwen2.5-7b", "qwen2.5-14b")
GENERATED = ("zipf", "multi-turn", "rag", "agents")
GENERATED_REQUESTS = 8000
# policy -> view delay in ms -> share of its own single router, at least
MESHES = {OURS: {10: 0.93, 100: 0.90}, "dualmap": {100: 0.95}, "min_ttft": {100: None},
          "lmetric": {100: None}}


def replay_tool(command, *flags):
    argv = [ROOT / "build" / "bin" / "dualmesh-replay", command, *flags, "--json"]
    done = subprocess.run([str(part) for part in argv], capture_output=True, text=True, timeout=3600,
                          check=True)
    return json.loads(done.stdout)


def policy_names():
    """All that the program knows, from its own answer to a name that is none."""
    argv = [ROOT / "build" / "bin" / "dualmesh-replay", "simulate", "--generate", "zipf", "--qps", "1",
            "--policy", "?"]
    said = subprocess.run([str(part) for part in argv], capture_output=True, text=True, check=False)
    return said.stderr.partition("allowed:")[2].replace(",", " ").split()


def conversation():
    trace = trace_file("conversation_trace.jsonl")
    if trace is None:
        raise Skipped("conversation_trace.jsonl is not here; DUALMESH_TRACES names its folder")
    return ["--trace", trace, "--requests", 8000, "--warmup", 500, "--instances", 8]


def capacities(workload, *flags):
    found = replay_tool("compare", *workload, *flags, "--policies", ",".join(policy_names()),
                        "--seeds", trials(SEEDS, 1))
    return {one["policy"]: one for one in found["results"]}, found["engine_limit_qps"]


def compared(about, found, limit_qps, at_least):
    ours = found[OURS]
    others = {name: one for name, one in found.items() if name != OURS}
    best = max(others, key=lambda name: others[name]["capacity_qps"])
    return [
        Figure(f"{about}: {OURS}", ours["capacity_qps"], "requests/s",
               note=f"{ours['capacity_qps'] / limit_qps:.3f} of the engines' limit"),
        Figure(f"{about}: best other", found[best]["capacity_qps"], "requests/s", note=best),
        Figure(f"{about}: {OURS} / best other",
               ours["capacity_qps"] / found[best]["capacity_qps"], "ratio", at_least, False)]


def policies():
    workload = conversation()
    figures = []
    for fleet in FLEETS:
        found, limit_qps = capacities(workload, "--preset", fleet)
        figures += compared(f"conversation, {fleet}", found, limit_qps,
                            1.08 if fleet == FLEETS[0] else 0.98)
        figures.append(Figure(f"conversation, {fleet}: {OURS} / round_robin",
                              found[OURS]["capacity_qps"] / found["round_robin"]["capacity_qps"],
                              "ratio", 1.5 if fleet == FLEETS[0] else None, False))
    for name in GENERATED:
        found, limit_qps = capacities(["--generate", name, "--requests", GENERATED_REQUESTS,
                                       "--instances", 8])
        figures += compared(name, found, limit_qps, 0.98)
    return figures


def one_scheduler():
    workload = conversation()
    figures = []
    for policy, delays in MESHES.items():
        seeds = ("--seeds", trials(SEEDS, 1))
        alone = replay_tool("capacity", *workload, "--policy", policy, *seeds)
        for delay_ms, at_least in delays.items():
            mesh = ("--policy", policy, "--routers", 16, "--view-delay-ms", delay_ms,
                    "--kv-delay-ms", delay_ms)
            found = replay_tool("capacity", *workload, *mesh, *seeds)
            about = f"{policy}, 16 routers, {delay_ms} ms"
            figures.append(Figure(f"{about}: capacity / alone",
                                  found["capacity_qps"] / alone["capacity_qps"], "ratio", at_least,
                                  False))
            if policy != OURS:
                continue
            beside = replay_tool("simulate", *workload, "--policy", policy, "--qps",
                                 found["capacity_qps"], *seeds)
            figures += [
                Figure(f"{about}: hit ratio / alone", found["hit_ratio"] / beside["hit_ratio"],
                       "ratio", 0.97, False),
                Figure(f"{about}: CV of load", found["load_cv"] - beside["load_cv"], "more", 0.05),
                Figure(f"{about}: idle beside waiting work", found["idle_waiting_s"] * 1000, "ms",
                       50 if delay_ms == 10 else None)]
    return figures
