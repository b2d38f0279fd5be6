#!/usr/bin/env python3
"""simulate, capacity and compare as a user meets them: fields, files, and errors with status 2.

usage: replay_commands_test.py DUALMESH_REPLAY
"""

import csv
import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

PROMISED = """policy routers instances qps requests slo_attainment hit_ratio load_cv ttft_mean
ttft_p50 ttft_p90 ttft_p95 ttft_p99 ttft_max e2e_p50 e2e_p99 goodput_qps output_tokens_per_s
migrations rejected failed prefill_tokens_computed jain_fairness wall_seconds""".split()
SMALL = ["--generate", "zipf", "--requests", "400", "--instances", "2"]
GOOD = '{"timestamp": 0, "input_length": 5, "output_length": 5, "hash_ids": [1]}\n'


class Program:
    def __init__(self, path):
        self.path = path

    def run(self, *arguments):
        return subprocess.run([self.path, *arguments], capture_output=True, text=True, timeout=120,
                              check=False)

    def good(self, *arguments):
        done = self.run(*arguments)
        assert done.returncode == 0, (arguments, done.returncode, done.stderr)
        return done.stdout

    def refused(self, words, *arguments):
        done = self.run(*arguments)
        assert done.returncode == 2, (arguments, done.returncode, done.stderr)
        assert done.stdout == "", done.stdout
        for word in words:
            assert word in done.stderr, (arguments, word, done.stderr)


def check_fields(program):
    one = json.loads(program.good("simulate", *SMALL, "--qps", "4", "--routers", "3", "--json"))
    for name in PROMISED:
        assert name in one, name
    assert one["requests"] == 375 and one["routers"] == 3 and one["instances"] == 2
    assert abs(one["qps"] - 4) < 1e-6 and one["rejected"] == 0 and one["failed"] == 0
    again = json.loads(program.good("simulate", *SMALL, "--qps", "4", "--routers", "3", "--json"))
    del one["wall_seconds"], again["wall_seconds"]
    assert one == again, "the same seed gave another run"
    other = json.loads(program.good("simulate", *SMALL, "--qps", "4", "--seed", "2", "--json"))
    assert other["ttft_mean"] != one["ttft_mean"]

    lost = json.loads(program.good("simulate", *SMALL, "--qps", "8", "--json", "--change",
                                   "fail:0@20,return:0@30"))
    assert lost["failed"] > 0 and lost["ttft_max"] is None and lost["slo_attainment"] < 1

    found = json.loads(program.good("capacity", *SMALL, "--seeds", "2", "--json"))
    for name in [*PROMISED, "capacity_qps", "engine_limit_qps", "engine_limit_fraction"]:
        assert name in found, name
    assert found["slo_attainment"] >= 0.9 and found["ttft_max"] <= 60
    assert found["capacity_qps"] == sum(found["capacity_qps_by_seed"]) / 2 > 0
    steps = found["capacity_qps_by_seed"][0] / 0.02
    assert abs(steps - round(steps)) < 1e-6


def check_files(program, folder):
    table, rows, plots = folder / "all.json", folder / "rows.csv", folder / "deep" / "plots"
    text = program.good("compare", *SMALL, "--policies", "dualmap,dualmap@fifo,round_robin",
                        "--json", str(table), "--csv", str(rows), "--plot", str(plots))
    assert all(name in text for name in ("dualmap@fifo", "round_robin")), text
    assert max(map(len, text.splitlines())) <= 100, text
    results = json.loads(table.read_text())["results"]
    assert [one["policy"] for one in results] == ["dualmap", "dualmap", "round_robin"]
    with rows.open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["capacity_qps"]) for line in lines] == [one["capacity_qps"] for one in results]
    assert sorted(path.name for path in plots.iterdir()) == [
        "capacity.svg", "hits_and_spread.svg", "ttft.svg"]
    for path in plots.iterdir():
        texts = [text.text for text in ElementTree.parse(path).getroot().iter() if text.text]
        for one in ("dualmap", "dualmap@fifo", "round_robin"):
            assert texts.count(one) == 1, (path, one)
    rates = ["--qps", "3", "--json", "--policies", "dualmap,dualmap@fifo,round_robin"]
    alone, together = (json.loads(program.good("compare", *SMALL, *rates, "--jobs", jobs))
                       for jobs in ("1", "3"))
    for one in [*alone["results"], *together["results"]]:
        del one["wall_seconds"]
    assert alone == together, "jobs change results"
    same = program.good("compare", *SMALL, "--policies", "round_robin", "--qps", "3",
                        "--plot", str(folder / "same"))
    assert "all at the same rate" in same
    assert not (folder / "same" / "capacity.svg").exists()


def check_clients(program, folder):
    base = ["--generate", "zipf:prefixes=40,clients=3,heavy=4,own=1", "--requests", "400",
            "--instances", "2", "--qps", "4"]
    one = json.loads(program.good("simulate", *base, "--client-weights", "client-1=2", "--json"))
    assert one["clients"] == 3 and 0 < one["jain_fairness"] <= 1
    by_client = one["by_client"]
    assert [client["client"] for client in by_client][0] == "client-0", by_client
    assert sum(client["requests"] for client in by_client) == one["requests"]
    weights = {client["client"]: client["weight"] for client in by_client}
    assert weights == {"client-0": 1, "client-1": 2, "client-2": 1}
    assert [client["well_behaved"] for client in by_client] == [False, True, True]
    assert one["ttft_p99_well_behaved"] > 0 and one["ttft_p99_other_clients"] > 0
    assert "client-2" in program.good("simulate", *base)
    rows = folder / "clients.csv"
    text = program.good("compare", *base, "--policies", "d2lpm,join_shortest_queue@vtc",
                        "--csv", str(rows))
    assert "Jain" in text and "well-behaved" in text and max(map(len, text.splitlines())) <= 100
    with rows.open() as file:
        line = next(csv.DictReader(file))
    served = dict(part.split("=") for part in line["service_by_client"].split(";"))
    assert sorted(served) == ["client-0", "client-1", "client-2"] and float(served["client-0"]) > 0
    alone = program.good("compare", "--generate", "zipf", "--requests", "50", "--qps", "4",
                         "--policies", "random@fifo,d2lpm")
    assert "Jain" not in alone


def check_refusals(program, folder):
    trace = folder / "trace.jsonl"
    trace.write_text(GOOD * 20)
    for content, words in (
            (GOOD + GOOD[:30], [":2:", "not a JSON object"]),
            (GOOD.replace("0,", "9,", 1) + GOOD, [":2:", "in order of time"]),
            (GOOD.replace("[1]", "[1, 2]"), [":1:", "hash_ids", "needs 1"]),
            (GOOD.replace("0,", "-4,", 1), [":1:", "timestamp", "0 to"]),
            ("", ["no requests"])):
        broken = folder / "broken.jsonl"
        broken.write_text(content)
        report = folder / "report.json"
        program.refused(words, "simulate", "--trace", str(broken), "--json", str(report))
        assert not report.exists()
    base = ["--trace", str(trace)]
    for words, *arguments in (
            (["one of --trace", "--generate", "zipf"], "simulate"),
            (["no policy 'x'", "round_robin"], "simulate", *base, "--policy", "x"),
            (["parameter 'y'"], "simulate", *base, "--policy", "round_robin:y=1"),
            (["no queue order 'x'", "fifo"], "simulate", *base, "--queue", "x"),
            (["no policy 'x'"], "compare", *base, "--policies", "dualmap,x"),
            (["no queue order 'x'"], "compare", *base, "--policies", "dualmap@x"),
            (["--policies"], "compare", *base),
            (["no generator 'x'", "rag"], "simulate", "--generate", "x"),
            (["parameter 'x'", "prefixes"], "simulate", "--generate", "zipf:x=1"),
            (["--preset", "qwen2.5-7b"], "simulate", *base, "--preset", "x"),
            (["--instances", "1"], "simulate", *base, "--instances", "0"),
            (["--speeds", "2 instances"], "simulate", *base, "--instances", "2",
             "--speeds", "1,1,1"),
            (["--speeds"], "simulate", *base, "--speeds", "0"),
            (["--warmup", "0 to 19"], "simulate", *base, "--warmup", "20"),
            (["--max-input"], "simulate", *base, "--max-input", "5"),
            (["--cache-blocks", "2 blocks or more"], "simulate", "--generate",
             "uniform:spread=0,input_tokens=600,output_tokens=9", "--cache-blocks", "1"),
            (["--min-qps", "--max-qps"], "capacity", *base, "--min-qps", "5", "--max-qps", "4"),
            (["--client-weights", "0.001 to 1000"], "simulate", *base, "--client-weights", "a=0"),
            (["--client-weights", "NAME=WEIGHT"], "simulate", *base, "--client-weights", "a"),
            (["--view-delay-ms"], "simulate", *base, "--view-delay-ms", "-1"),
            (["--qps"], "simulate", *base, "--qps", "fast"),
            (["--change", "'melt:1@2'", "drain"], "simulate", *base, "--change", "melt:1@2"),
            (["--change", "instance 9", "0 to 7"], "simulate", *base, "--change", "join:9@1"),
            (["--json"], "simulate", *base, "--json", str(folder / "nowhere" / "x.json")),
            (["--csv"], "simulate", *base, "--csv", str(folder)),
            (["--plot"], "simulate", *base, "--plot", str(trace))):
        program.refused(words, *arguments)


def main():
    program = Program(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        check_fields(program)
        check_files(program, folder)
        check_clients(program, folder)
        check_refusals(program, folder)
    print("fields, files and refusals as promised")


if __name__ == "__main__":
    main()
