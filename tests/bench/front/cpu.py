"""CPU time of a proxy per request, beside HAProxy's and nginx's for the same requests.

Two settings. Engines that take 20 ms and the default policy, which gives an instance one prefill
at a time: open loop at a rate that all can carry, so that all do the same work; at this rate a
proxy sleeps between requests, and what it costs to be woken is in everybody's figure. Instant
engines and no queue: closed loop, each as fast as it can. Figures are named by setting, KB of
body, connections, proxy.
"""

from figures import Figure, trials
from front.contestants import all_proxies
from front.rounds import (TARGETS, errors, in_turns, median, noise_row, print_table, ratio)
from front.setup import AS_FAST, ENGINES, INSTANT, NO_QUEUE, Front

CELLS = [(2, 64), (2, 1024), (32, 64), (32, 1024)]  # KB of body, connections
ENGINES_RATE = 1200  # of 1,600 that 32 instances answer in 20 ms each, one at a time
ROUNDS = trials(5, quick=1)
SECONDS = trials(2.0, quick=0.7)
PROMPTS = 1024  # different ones, which come again
IDLE_S = trials(3.0, quick=1.0)


def us(measured):
    return measured.cpu_us()


def idle_figures(front):
    """Health checks and the mesh's own talk; all of it is in the requests' figures, too."""
    found = {one.name: front.idle_cpu(one, IDLE_S) for one in front.contestants}
    return [Figure(f"nobody asks, {name}: CPU", 100 * share, "% core")
            for name, share in found.items()]


def cell_figures(title, found):
    figures = []
    for name, rounds in found.items():
        user = sum(each.cpu.user_share for each in rounds) / len(rounds)
        rate = sum(each.rate for each in rounds) / len(rounds)
        p99_ms = median(rounds, lambda each: each.found["latency_us"]["p99"]) / 1000
        figures.append(Figure(f"{title}, {name}: CPU", median(rounds, us), "us",
                              note=f"user {user:.0%}, {rate:,.0f}/s, p99 {p99_ms:.1f} ms, "
                                   f"{errors(rounds)} errors"))
        if name in TARGETS:
            continue
        figures += [Figure(f"{title}, {name}: x {other}", ratio(found, name, other, us), "x",
                           target if name.startswith("mesh") else None)
                    for other, target in TARGETS.items()]
    return figures


def cell_text(found, name):
    text = f"{median(found[name], us):.1f} us"
    if name not in TARGETS:
        text += " (" + " / ".join(f"{ratio(found, name, other, us):.2f}" for other in TARGETS) + ")"
    return text + f", {median(found[name], lambda each: each.rate):,.0f}/s"


def setting(instances, flags, rate):
    figures, cells = [], {}
    with Front(instances, all_proxies(flags)) as front:
        names = [one.name for one in front.contestants]
        if instances == ENGINES:
            figures += idle_figures(front)
        for kilobytes, connections in CELLS:
            load = {"connections": connections, "body": 1024 * kilobytes, "rate": rate,
                    "seconds": SECONDS, "prompts": PROMPTS}
            found = in_turns(front, ROUNDS, lambda one, seed, load=load: front.load(
                one, "requests", seed=seed, **load))
            cells[f"{kilobytes} KB, {connections:,}"] = found
            figures += cell_figures(f"{instances.title}, {kilobytes} KB, {connections:,}", found)
        figures.append(noise_row(front, instances.title))
    how = f"{rate:,} requests/s" if rate else "closed loop"
    print_table(f"CPU per request (x HAProxy / x nginx), engines: {instances.title}, {how}",
                list(cells), [[name, *(cell_text(found, name) for found in cells.values())]
                              for name in names])
    return figures


def front_cpu():
    return setting(ENGINES, AS_FAST, ENGINES_RATE) + setting(INSTANT, NO_QUEUE, 0)
