"""Ingestion of KV events, and the index that requests ask, from the programs' own JSON."""

import json
import subprocess

from figures import Figure
from mesh import ROOT


def measured(program, *arguments):
    done = subprocess.run([ROOT / "build" / "bin" / program, "--json", *arguments],
                          capture_output=True, text=True, timeout=1800, check=True)
    return json.loads(done.stdout)


def kv_ingest():
    result = measured("bench_kv")
    held = f"{result['held_blocks'] / 1e6:.3g} M blocks held"
    return [
        Figure("decode, translate, apply", result["whole_blocks_per_s"], "blocks/s", 4e6, False,
               held),
        Figure("decode alone", result["decode_blocks_per_s"], "blocks/s"),
        Figure("decode and translate", result["decode_translate_blocks_per_s"], "blocks/s"),
        Figure("memory of the process", result["rss_bytes_per_block"], "B/block", 64),
        Figure("of it the index", result["index_bytes_per_block"], "B/block", 24),
    ]


def micro(program):
    """The runs of a micro-benchmark."""
    done = subprocess.run([ROOT / "build" / "bin" / program, "--benchmark_format=json"],
                          capture_output=True, text=True, timeout=1800, check=True)
    return json.loads(done.stdout)["benchmarks"]


def kv_index():
    figures = []
    for run in micro("bench_block_index"):
        name = run["name"]
        if "p50_us" in run:
            figures.append(Figure(f"{name}, p50", run["p50_us"], "us", 5))
            figures.append(Figure(f"{name}, p99", run["p99_us"], "us"))
        if "bytes/block" in run:
            figures.append(Figure(f"{name}, index", run["bytes/block"], "B/block", 24))
    return figures


def kv_tokens():
    figures = []
    for run in micro("bench_token_cache"):
        name = run["name"].replace("/real_time", "").replace("/threads:", ", threads ")
        figures.append(Figure(f"tokens: {name}", run["items_per_second"], "/s", 1e5, False))
        figures.append(Figure(f"tokens: {name}, each", 1e9 / run["items_per_second"], "ns"))
    return figures
