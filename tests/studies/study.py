"""What the studies share: the options, running `dualmesh-replay` many times, and tables.

A study is a program in this folder. It describes its runs as cases, a name each with the arguments
of `dualmesh-replay compare` and the policies; `compare_all` runs them, one process for each case
and policy and `--jobs` of them at a time (`run_all`: any other command of the tool); `table` prints
what came out as Markdown, and `finish` writes all figures to `--json`. Figures have the names that
the replay tool gives them. Drawings: plot.py.
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
    made.add_argument("--again", type=Path,
                      help="an earlier run's --json: what is in it is not run again")
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


def run_all(options, runs):
    """{key: JSON} of `runs`, {key: arguments of the replay tool}, in the order given. What the file
    of --again has of the very same arguments is not run."""
    earlier = json.loads(options.again.read_text(encoding="utf-8")) if options.again else {}
    known = {tuple(one["arguments"]): one for one in records(earlier)}
    keys = {key: tuple(map(str, arguments)) for key, arguments in runs.items()}
    left = {key: arguments for key, arguments in keys.items() if arguments not in known}
    progress = Progress(len(left))

    def run(one):
        key, arguments = one
        known[arguments] = {"arguments": arguments, **replay(options, arguments)}
        progress.tell(key if isinstance(key, str) else ": ".join(map(str, key)))

    with ThreadPoolExecutor(options.jobs) as pool:
        try:
            list(pool.map(run, left.items()))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {key: known[arguments] for key, arguments in keys.items()}


def records(found):
    """Every record in a study's JSON that says from which arguments it is."""
    if isinstance(found, dict):
        if "arguments" in found:
            yield found
        else:
            for each in found.values():
                yield from records(each)


def compare_all(options, cases):
    """{case: {policy[@order]: figures}} in the order given; `cases` is {case: Case}."""
    runs = {(name, policy): ["compare", *case.arguments, "--policies", policy,
                             "--seeds", options.seeds]
            for name, case in cases.items() for policy in case.policies}
    results = {name: {} for name in cases}
    for (name, policy), found in run_all(options, runs).items():
        figures = found["results"][0] if "results" in found else found
        results[name][policy] = {"arguments": found["arguments"], **figures}
    return results


class Bounds(NamedTuple):
    """What no policy can pass, of a workload on a fleet; engine_limit.h says how it is reckoned."""

    hit_ratio: float  # of one cache for all that forgets nothing
    qps: float
    input_tokens: float  # mean of a request


def bounds(options, workloads):
    """{name: Bounds} of {name: arguments}. One instance that computes at once and forgets nothing
    hits what such a cache would."""
    alone = ["--instances", 1, "--cache-blocks", 1 << 24, "--prefill-us-per-token", 0.1,
             "--min-iteration-ms", 0.001, "--decode-us-per-sequence", 0]
    runs = {}
    for name, arguments in workloads.items():
        common = ["simulate", *arguments, "--policy", "round_robin"]
        runs[name, "one infinite cache"] = [*common, *alone]
        runs[name, "limit"] = common
    found = run_all(options, runs)
    made = {}
    for name in workloads:
        one = found[name, "one infinite cache"]
        made[name] = Bounds(one["hit_ratio"], found[name, "limit"]["engine_limit_qps"],
                            one["prompt_tokens"] / one["requests"])
    return made


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
