"""What the studies share: the options, running `dualmesh-replay` many times, and tables.

A study is a program in this folder. It describes its runs as cases, a name each with the arguments of
`dualmesh-replay compare` and the policies; `compare_all` runs them, one process for each case and
policy and `--jobs` of them at a time; `table` prints what came out as Markdown, and `finish` writes
all figures to `--json`. Figures have the names that the replay tool gives them. Drawings: plot.py.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
CONVERSATION = "conversation_trace.jsonl"
TOOL_AND_AGENT = "toolagent_trace.jsonl"  # as Mooncake publishes it
MULTI_TENANT = "vtc_arena_multitenant.jsonl"


class Case(NamedTuple):
    """Runs on one workload and fleet: arguments of `compare` but for the policies, and those."""

    arguments: list
    policies: list


def parser(document, seeds=1):
    """The options of every study; one with more of its own adds them before parse_args."""
    made = argparse.ArgumentParser(description=document.split("\n", maxsplit=1)[0])
    made.add_argument("--replay", default=str(ROOT / "build" / "bin" / "dualmesh-replay"))
    made.add_argument("--traces", type=Path, default=Path(os.environ.get("DUALMESH_TRACES", ".")),
                      help="folder of recorded traces (DUALMESH_TRACES)")
    made.add_argument("--jobs", type=int, default=os.cpu_count(),
                      help="runs at the same time (%(default)s)")
    made.add_argument("--seeds", type=int, default=seeds, help="mean of so many (%(default)s)")
    made.add_argument("--quick", action="store_true",
                      help="small, to see that it works: the figures say nothing")
    made.add_argument("--json", type=Path, help="all figures, as the replay tool gave them")
    made.add_argument("--plot", type=Path, help="directory for figures (SVG)")
    return made


def trace(options, name):
    """The arguments that replay a recorded trace; None, and said aloud, where it is not there."""
    path = options.traces / name
    if path.exists():
        return ["--trace", str(path)]
    print(f"left out: {path} is not there", file=sys.stderr)
    return None


def replay(options, arguments):
    """One run of the replay tool: its JSON. Ends the study when it fails."""
    command = [options.replay, *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


class Progress:
    """A line on stderr for each run that ended."""

    def __init__(self, runs):
        self.runs = runs
        self.ended = 0
        self.began = time.monotonic()
        self.lock = threading.Lock()

    def tell(self, what):
        with self.lock:
            self.ended += 1
            spent = time.monotonic() - self.began
            print(f"[{self.ended}/{self.runs}, {spent:.0f} s] {what}", file=sys.stderr, flush=True)


def compare_all(options, cases):
    """{case: {policy[@order]: figures}} in the order given; `cases` is {case: Case}."""
    runs = [(name, case.arguments, policy)
            for name, case in cases.items() for policy in case.policies]
    progress = Progress(len(runs))

    def run(one):
        name, arguments, policy = one
        found = replay(options, ["compare", *arguments, "--policies", policy,
                                 "--seeds", options.seeds])
        progress.tell(f"{name}: {policy}")
        return found["results"][0]

    results = {name: {} for name in cases}
    with ThreadPoolExecutor(options.jobs) as pool:
        try:
            for (name, _, policy), found in zip(runs, pool.map(run, runs)):
                results[name][policy] = found
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return results


def infinite_cache_hit_ratio(options, arguments):
    """What one instance that forgets nothing and computes at once would hit of a workload."""
    alone = ["--instances", 1, "--cache-blocks", 1 << 24, "--prefill-us-per-token", 0.1,
             "--min-iteration-ms", 0.001, "--decode-us-per-sequence", 0, "--policy", "round_robin"]
    return replay(options, ["simulate", *arguments, *alone])["hit_ratio"]


def shown(value, decimals=2):
    """A figure in a table; infinite and undefined ones are None in the tool's JSON."""
    return "-" if value is None else f"{value:.{decimals}f}"


def ratio(over, under, decimals=2):
    return f"{over / under:.{decimals}f}" if over is not None and under else "-"


def table(title, head, rows):
    """Prints a Markdown table; cells are strings."""
    print(f"\n{title}\n")
    print(f"| {' | '.join(head)} |")
    print("|---" * len(head) + "|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    sys.stdout.flush()


def finish(options, found):
    """Writes all figures where --json says."""
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
