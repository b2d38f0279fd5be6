"""What a proxy adds to the latency of asking the instances directly, open loop at half load.

Half load is half of what the slowest contestant can do: with engines of 20 ms and the default
policy what the instances answer one at a time, with instant engines and no queue what it reached
in a closed loop.
"""

import math
import statistics

from figures import Figure, trials
from front.contestants import Direct, all_proxies
from front.rounds import errors, in_turns, noise_row, print_table
from front.setup import AS_FAST, ENGINES, INSTANT, NO_QUEUE, Front

ROUNDS = trials(5, quick=1)
SECONDS = trials(3.0, quick=1.0)
CONNECTIONS = 64
P99_TARGET_MS = 1.0


def added_ms(found, name, which):
    if errors(found[name]) + errors(found["direct"]):
        return math.inf
    return statistics.median(
        (one.found["latency_us"][which] - direct.found["latency_us"][which]) / 1000
        for one, direct in zip(found[name], found["direct"]))


def closed_loop_rate(front):
    """Of the slowest."""
    return min(front.load(one, "requests", connections=CONNECTIONS, seconds=1).rate
               for one in front.contestants if one.processes)


def setting(instances, flags):
    with Front(instances, [Direct(), *all_proxies(flags)], delays=True) as front:
        if instances.latency_us:
            rate = instances.count * 1e6 / instances.latency_us / 2
        else:
            rate = closed_loop_rate(front) / 2
        found = in_turns(front, ROUNDS, lambda one, seed: front.load(
            one, "requests", seed=seed, connections=CONNECTIONS, rate=rate, seconds=SECONDS))
        noise = noise_row(front, f"latency, {instances.title}")
    figures, rows = [], []
    for name in found:
        if name == "direct":
            continue
        added = {which: added_ms(found, name, which) for which in ("p50", "p99")}
        target = P99_TARGET_MS if name in ("one node", "mesh of 3") else None
        title = f"{instances.title}, {rate:,.0f}/s, {name}: added"
        figures += [Figure(f"{title} p50", added["p50"], "ms"),
                    Figure(f"{title} p99", added["p99"], "ms", target)]
        rows.append([name, *(f"{value:.2f} ms" for value in added.values())])
    print_table(f"Added latency, engines: {instances.title}, {rate:,.0f} requests/s",
                ["p50", "p99"], rows)
    return [*figures, noise]


def front_latency():
    return setting(ENGINES, AS_FAST) + setting(INSTANT, NO_QUEUE)
