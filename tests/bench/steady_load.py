"""Short requests to nodes, open loop, all of one kind, at even or random (Poisson) distances.

A prompt has 768 tokens, of which the first 512 are one of 8 beginnings that many share; an answer has
8. So a request costs the same whoever serves it, most of the machine is left to what is measured, and
every request changes its node's load three times: placed, first token, finished.
"""

import json

PROMPT_TOKENS = 768
ANSWER_TOKENS = 8
SHARED_PROMPTS = 8
CHANGES_PER_REQUEST = 3


def write_trace(path, requests, per_s, speed, dice):
    """Targets take requests in turn, so that with n nodes each gets every n-th."""
    at_s = 0.0
    with open(path, "w", encoding="utf-8") as trace:
        for number in range(requests):
            trace.write(json.dumps({
                "timestamp": int(1e3 * speed * at_s), "input_length": PROMPT_TOKENS,
                "output_length": ANSWER_TOKENS,
                "hash_ids": [number % SHARED_PROMPTS, SHARED_PROMPTS + number]}) + "\n")
            at_s += dice.expovariate(per_s) if dice else 1 / per_s


def start_replay(mesh, nodes, requests, per_s, speed, report, dice=None):
    """Evenly without `dice`; all the same, and reproducible, with dice of one seed."""
    trace = report.with_suffix(".jsonl")
    write_trace(trace, requests, per_s, speed, dice)
    return mesh.spawn(report.stem, [
        mesh.program("dualmesh-replay"), "live", "--target", ",".join(node.http for node in nodes),
        "--trace", trace, "--speed", f"{speed:g}", "--model", "sim", "--json", report])
