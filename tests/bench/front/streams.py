"""A thousand streams at once, 200 events each: CPU per event beside nginx's, and what is added to
its way.

An event each 100 ms and stream, 10,000 a second in all: no core is full. CPU time is that of the
whole load, starting the streams included; an event's delay is from the instance's write to the
client's read.
"""

import dataclasses
import math
import statistics

from figures import Figure, trials
from front.contestants import Direct, all_proxies
from front.rounds import errors, in_turns, median, noise_row, print_table, ratio
from front.setup import AS_FAST, ENGINES, Front

STREAMS = 1000
EVENTS = trials(200, quick=40)
ROUNDS = trials(3, quick=1)
CPU_TARGET = 1.25  # of nginx
DELAY_TARGETS_MS = {"p50": 1.0, "p99": 5.0}


def us(measured):
    return measured.cpu_us("events")


def added_ms(found, name, which):
    if errors(found[name]) + errors(found["direct"]):
        return math.inf
    return statistics.median(
        (one.found["event_delay_us"][which] - direct.found["event_delay_us"][which]) / 1000
        for one, direct in zip(found[name], found["direct"]))


def front_streams():
    instances = dataclasses.replace(ENGINES, events=EVENTS)
    with Front(instances, [Direct(), *all_proxies(AS_FAST)], delays=True) as front:
        found = in_turns(front, ROUNDS, lambda one, seed: front.load(
            one, "streams", seed=seed, connections=STREAMS, prompts=STREAMS, events=EVENTS,
            seconds=60 + EVENTS * instances.interval_us / 1e6, timeout_s=200))
        figures = [noise_row(front, "streams")]
    rows = []
    for name, rounds in found.items():
        if name == "direct":
            continue
        ours = name in ("one node", "mesh of 3")
        of_nginx = ratio(found, name, "nginx", us)
        user = sum(each.cpu.user_share for each in rounds) / len(rounds)
        figures.append(Figure(f"streams, {name}: CPU per event", median(rounds, us), "us",
                              note=f"user {user:.0%}, {errors(rounds)} errors"))
        figures.append(Figure(f"streams, {name}: x nginx", of_nginx, "x",
                              CPU_TARGET if ours else None))
        added = {which: added_ms(found, name, which) for which in DELAY_TARGETS_MS}
        figures += [Figure(f"streams, {name}: added to an event {which}", value, "ms",
                           DELAY_TARGETS_MS[which] if ours else None)
                    for which, value in added.items()]
        rows.append([name, f"{median(rounds, us):.1f} us ({of_nginx:.2f})",
                     *(f"{value:.2f} ms" for value in added.values())])
    print_table(f"{STREAMS:,} streams of {EVENTS} events", ["CPU per event (x nginx)", "added p50",
                                                          "added p99"], rows)
    return figures
