"""All that clients do, well and badly, for long on a mesh of 3: memory is flat, all given back.

Memory is read each second; bodies under way come and go, so what counts is the least of each of 40
spans. Its rise is that of a straight line through these in the second half: before, pools and
caches fill.
"""

import dataclasses
import os
import re
import sys
import time

from figures import Figure, trials
from front.contestants import ours
from front.rounds import errors
from front.setup import AS_FAST, ENGINES, Front
from process import http_get, wait_until

SECONDS = float(os.environ.get("DUALMESH_BENCH_SECONDS") or trials(600, quick=20))
LONG_S = 300  # shorter, and a rise says nothing
ACTORS = 150
EVENTS = 20
MOST_RISE = 2.0  # % of the memory over the time that is looked at
HELD = ("dualmesh_requests_live", "dualmesh_http_held_body_bytes")


def least(points, spans=40):
    """Of each span of time the point with the least memory."""
    lowest = {}
    for point in points:
        span = int(point[0] / SECONDS * spans)
        lowest[span] = min(lowest.get(span, point), point, key=lambda one: one[1])
    return [lowest[span] for span in sorted(lowest)]


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
    with Front(instances, ours(AS_FAST)[1:]) as front:
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
    lowest = least(points)
    print("   MB: " + " ".join(f"{y / 2**20:.1f}" for _, y in lowest), file=sys.stderr)
    later = [point for point in lowest if point[0] >= SECONDS / 2]
    rise = slope(later) * (later[-1][0] - later[0][0])
    level = sum(y for _, y in later) / len(later)
    acts = sum(done.found["acts"].values())
    return [
        Figure("mixed load: seconds", SECONDS, "s"),
        Figure("mixed load: requests", acts, "", note=", ".join(
            f"{name} {count}" for name, count in done.found["acts"].items())),
        Figure("mixed load: unexpected answers", errors([done]), "", 0),
        Figure("mixed load: memory of 3 nodes", level / 2**20, "MB"),
        Figure("mixed load: highest", max(y for _, y in points) / 2**20, "MB"),
        Figure("mixed load: afterwards", after / 2**20, "MB"),
        Figure("mixed load: rise", 100 * rise / level, "%",
               MOST_RISE if SECONDS >= LONG_S else None, note="too short to judge"),
        Figure("mixed load: bytes and requests not given back", left, "", 0)]
