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

    found = json.loads(program.good("capacity", *SMALL, "--policy", "dualmap", "--seeds", "2",
                                     "--json"))
    for name in [*PROMISED, "capacity_qps", "engine_limit_qps", "engine_limit_fraction"]:
        assert name in found, name
    assert found["slo_attainment"] >= 0.9 and found["ttft_max"] <= 60
    assert found["capacity_qps"] == sum(found["capacity_qps_by_seed"]) / 2 > 0
    steps = found["capacity_qps_by_seed"][0] / 0.02
    assert abs(steps - round(steps)) < 1e-6
    assert found["rejected"] == found["failed"] == found["preemptions"] == 0
    assert found["engine_limit_fraction"] == found["capacity_qps"] / found["engine_limit_qps"] < 1
    assert "engine_limit_fraction" in program.good("simulate", *SMALL, "--qps", "4")

    # One request without an answer, and no rate holds, however low the share that is asked for.
    lossy = program.run("capacity", *SMALL, "--min-attainment", "0", "--change", "fail:0@1",
                        "--change", "fail:1@1", "--min-qps", "1", "--json")
    assert lossy.returncode == 1, lossy.stderr
    lossy_found = json.loads(lossy.stdout)
    assert lossy_found["capacity_qps"] == 0 and lossy_found["ttft_max"] is None
    assert lossy_found["rejected"] + lossy_found["failed"] > 0
    # The longest wait alone can decide.
    bounds = [json.loads(program.good("capacity", *SMALL, "--min-attainment", "0", "--ttft-max-s",
                                      bound, "--json")) for bound in ("2", "20")]
    assert bounds[0]["ttft_max"] <= 2 < bounds[1]["ttft_max"] <= 20
    assert bounds[0]["capacity_qps"] < bounds[1]["capacity_qps"]


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
    seen = ["exact", "predicted", "blind"]
    text = program.good("compare", *SMALL, "--policies", "min_ttft", "--qps", "3",
                        "--residency", ",".join(seen), "--csv", str(rows))
    assert all(f"min_ttft {one}" in text for one in seen), text
    with rows.open() as file:
        assert [line["residency"] for line in csv.DictReader(file)] == seen
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


def check_broken_traces(program, folder):
    other = GOOD.replace('"hash_ids": [1]', '"client": "a"')
    for content, words in (
            (GOOD + GOOD[:30], [":2:", "not a JSON object"]),
            (GOOD + "[1, 2]\n", [":2:", "JSON object is expected"]),
            (GOOD + "\x00\xff\n", [":2:", "not a JSON object"]),
            (GOOD.replace("0,", "9,", 1) + GOOD, [":2:", "in order of time"]),
            (GOOD.replace("[1]", "[1, 2]"), [":1:", "hash_ids", "needs 1"]),
            (GOOD.replace("[1]", "[-1]"), [":1:", "hash_ids", "whole numbers from 0"]),
            (GOOD.replace("[1]", "1"), [":1:", "hash_ids", "array"]),
            (GOOD.replace("0,", "-4,", 1), [":1:", "timestamp", "0 to"]),
            (GOOD.replace('"input_length": 5', '"input_length": 0'), [":1:", "input_length", "1 to"]),
            (GOOD.replace('"output_length": 5', '"output_length": 1.5'), [":1:", "output_length"]),
            (GOOD.replace('"output_length": 5', '"outputs": 5'), [":1:", "output_length is missing"]),
            (other + other.replace('"a"', '""'), [":2:", "client", "1 to 256 bytes"]),
            ("", ["no requests"])):
        broken = folder / "broken.jsonl"
        broken.write_text(content)
        files = ["--json", str(folder / "report.json")]
        for command in (["simulate", "--csv", str(folder / "rows.csv")], ["capacity"],
                        ["compare", "--policies", "dualmap"],
                        ["live", "--target", "127.0.0.1:9"]):
            program.refused(["--trace", "broken.jsonl", *words], *command, "--trace", str(broken),
                            *files)
        assert [path.name for path in folder.iterdir()] == ["broken.jsonl"]


def check_kept_files(program, folder):
    """What was there stays whole when a later file cannot be written, and nothing is left over."""
    table, plots = folder / "table.json", folder / "plots"
    table.write_text("old")
    (plots / "ttft.svg").mkdir(parents=True)  # in the way of a figure
    done = program.run("simulate", *SMALL, "--qps", "4", "--json", str(table), "--plot", str(plots))
    assert done.returncode == 1 and "ttft.svg" in done.stderr, done.stderr
    assert json.loads(table.read_text())["requests"] == 375
    assert not [path for path in folder.rglob("*") if ".tmp" in path.name]
    table.write_text("old")
    program.refused(["--qps"], "simulate", *SMALL, "--qps", "nan", "--json", str(table))
    assert table.read_text() == "old"


def check_readme(program, folder):
    """The command of README.md that compares policies on a trace, as it stands there."""
    lines = (Path(__file__).resolve().parents[2] / "README.md").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("dualmesh-replay compare --trace")]
    trace = folder / "own.jsonl"
    trace.write_text("".join(json.dumps({"timestamp": 400 * i, "input_length": 2048,
                                         "output_length": 20, "hash_ids": [i % 7, 100 + i, 200 + i,
                                                                           300 + i]}) + "\n"
                             for i in range(400)))
    words = [str(trace) if word == "trace.jsonl" else word for word in line.split()[1:]]
    table = program.good(*words)
    for policy in ("dualmesh", "dualmap", "round_robin"):
        assert any(row.split()[:1] == [policy] for row in table.splitlines()), table
    trace.unlink()


def check_refusals(program, folder):
    trace = folder / "trace.jsonl"
    trace.write_text(GOOD * 20)
    live = ["live", "--target", "127.0.0.1:9", "--trace", str(trace)]
    base = ["--trace", str(trace)]
    for words, *arguments in (
            (["either --trace", "--generate", "zipf"], "simulate"),
            (["no policy 'x'", "round_robin"], "simulate", *base, "--policy", "x"),
            (["parameter 'y'"], "simulate", *base, "--policy", "round_robin:y=1"),
            (["no queue order 'x'", "fifo"], "simulate", *base, "--queue", "x"),
            (["--queue fifo", "dualmesh@slo", "one of the two"], "simulate", *base,
             "--policy", "dualmesh@slo", "--queue", "fifo"),
            (["--queue fifo", "one of the two"], "capacity", *base,
             "--policy", "round_robin@fifo", "--queue", "fifo"),
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
            (["--residency", "exact"], "compare", *base, "--policies", "dualmap",
             "--residency", "exact,wrong"),
            (["--hidden-share"], "simulate", *base, "--hidden-share", "1.1"),
            (["--warmup", "0 to 19"], "simulate", *base, "--warmup", "20"),
            (["--max-input"], "simulate", *base, "--max-input", "5"),
            (["--cache-blocks", "2 blocks or more"], "simulate", "--generate",
             "uniform:spread=0,input_tokens=600,output_tokens=9", "--cache-blocks", "1"),
            (["--min-qps", "--max-qps"], "capacity", *base, "--min-qps", "5", "--max-qps", "4"),
            (["--client-weights", "0.001 to 1000"], "simulate", *base, "--client-weights", "a=0"),
            (["--client-weights", "NAME=WEIGHT"], "simulate", *base, "--client-weights", "a"),
            (["--view-delay-ms"], "simulate", *base, "--view-delay-ms", "-1"),
            (["--qps"], "simulate", *base, "--qps", "fast"),
            *((["--" + flag, "'nan'", "to"], "simulate", *base, "--" + flag, "nan") for flag in (
                "qps", "rtt-ms", "view-delay-ms", "kv-delay-ms", "speeds", "slo-ttft", "warmup-qps",
                "prefill-us-per-token", "min-iteration-ms", "decode-us-per-sequence",
                "placement-ttl-s", "overload-wait-s")),
            *((["--" + flag, "'nan'", "to"], "capacity", *base, "--" + flag, "nan") for flag in (
                "min-attainment", "ttft-max-s", "min-qps", "max-qps", "resolution-qps")),
            *((["--" + flag, "'nan'", "to"], *live, "--" + flag, "nan") for flag in (
                "qps", "speed", "slo-ttft", "warmup-qps", "timeout")),
            (["--warmup", "0 to 19"], *live, "--warmup", "20"),
            (["--max-input"], *live, "--max-input", "5"),
            (["--json"], *live, "--json", str(folder / "nowhere" / "x.json")),
            (["'x' is not HOST:PORT"], "live", "--target", "x", "--trace", str(trace)),
            (["--requests", "10000000"], "simulate", "--generate", "zipf", "--requests", "99999999999"),
            (["--requests"], "simulate", "--generate", "zipf", "--requests", "0"),
            (["--requests"], "simulate", "--generate", "zipf", "--requests", "-1"),
            (["--warmup"], "simulate", *base, "--warmup", "-1"),
            (["--token-budget", "1 to"], "simulate", *base, "--token-budget", "0"),
            (["--cache-blocks", "1 to"], "simulate", *base, "--cache-blocks", "0"),
            (["--change", "one router must be left"], "simulate", *base, "--change", "fail-router:0@5"),
            (["cannot be opened"], "simulate", "--trace", str(folder / "missing")),
            (["cannot be opened"], "simulate", "--trace", str(folder)),
            (["no value for alpha", "0 to"], "simulate", *base, "--policy", "load_cache_score:alpha=nan"),
            (["no command 'bogus'"], "bogus"),
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
        for number, check in enumerate((check_readme, check_refusals, check_broken_traces,
                                        check_kept_files)):
            (folder / str(number)).mkdir()
            check(program, folder / str(number))
    print("fields, files and refusals as promised")


if __name__ == "__main__":
    main()
