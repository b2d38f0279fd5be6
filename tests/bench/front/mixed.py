"""All that clients do, well and badly, for long on a mesh of 3: memory is flat, all given back.

Memory is read each second. Its rise is that of a straight line through what was read after the
first quarter, in which pools and caches fill.
"""

import dataclasses
import os
import re
import time

from figures import Figure, trials
from front.contestants import ours
from front.rounds import errors
from front.setup import ENGINES, Front
from process import http_get, wait_until

SECONDS = float(os.environ.get("DUALMESH_BENCH_SECONDS") or trials(600, quick=20))
LONG_S = 300  # shorter, and a rise says nothing
ACTORS = 150
EVENTS = 20
MOST_RISE = 2.0  # % of the memory over the time that is looked at
HELD = ("dualmesh_requests_live", "dualmesh_http_held_body_bytes")


def slope(points):
    """Of the line of least squares through (x, y)."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    return (sum((x - mean_x) * (y - mean_y) for x, y in points) /
            sum((x - mean_x) ** 2 for x, _ in points))


def held(mesh):
    """What the nodes' metrics say is still held for requests."""
    total = 0.0
    for address in mesh.addresses:
        text = http_get(f"http://{address}/metrics")[1]
        for name in HELD:
            found = re.search(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
            if found is None:
                raise RuntimeError(f"no {name} at /metrics")
            total += float(found.group(1))
    return total


def nothing_held(mesh):
    try:
        wait_until(lambda: held(mesh) == 0, 10, "all is given back")
    except Exception:
        pass
    return held(mesh)


def front_mixed():
    points = []
    instances = dataclasses.replace(ENGINES, events=EVENTS, interval_us=50_000)
    with Front(instances, ours()[1:]) as front:
        mesh = front.contestants[0]

        def watch():
            began = time.monotonic()
            while (at := time.monotonic() - began) < SECONDS:
                points.append((at, front.memory(mesh)))
                time.sleep(1.0)

        done = front.load(mesh, "mixed", during=watch, connections=ACTORS, events=EVENTS,
                          seconds=SECONDS, timeout_s=SECONDS + 120)
        left = nothing_held(mesh)
        after = front.memory(mesh)
    later = [point for point in points if point[0] >= SECONDS / 4]
    rise = slope(later) * (later[-1][0] - later[0][0])
    level = sum(y for _, y in later) / len(later)
    acts = sum(done.found["acts"].values())
    return [
        Figure("mixed load: seconds", SECONDS, "s"),
        Figure("mixed load: requests", acts, "", note=", ".join(
            f"{name} {count}" for name, count in done.found["acts"].items())),
        Figure("mixed load: unexpected answers", errors([done]), "", 0),
        Figure("mixed load: memory of 3 nodes, mean", level / 2**20, "MB"),
        Figure("mixed load: highest", max(y for _, y in later) / 2**20, "MB"),
        Figure("mixed load: afterwards", after / 2**20, "MB"),
        Figure("mixed load: rise", 100 * rise / level, "%",
               MOST_RISE if SECONDS >= LONG_S else None, note="too short to judge"),
        Figure("mixed load: bytes and requests not given back", left, "", 0)]
