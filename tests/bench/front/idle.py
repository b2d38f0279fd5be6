"""User memory of a proxy for each idle keep-alive connection that has asked once."""

import math
import time

from figures import Figure, trials
from front.contestants import all_proxies
from front.rounds import errors, print_table
from front.setup import INSTANT, NO_QUEUE, Front

CONNECTIONS = trials(10_000, quick=3_000)
TARGET_BYTES = 8 * 1024


def measure(front, one):
    """Bytes for a connection while all are open, and of that 2 s after they have closed."""
    front.load(one, "requests", connections=64, seconds=0.5)  # what any request needs is not theirs
    before = front.memory(one)
    held = []

    def while_open():
        time.sleep(1.0)
        held.append(front.memory(one))

    done = front.load(one, "idle", during=while_open, connections=CONNECTIONS)
    time.sleep(2.0)
    if errors([done]):
        return math.inf, math.inf
    return (held[0] - before) / CONNECTIONS, (front.memory(one) - before) / CONNECTIONS


def front_idle():
    figures, rows = [], []
    with Front(INSTANT, all_proxies(NO_QUEUE)) as front:
        for one in front.contestants:
            held, kept = measure(front, one)
            ours = one.name in ("one node", "mesh of 3")
            figures += [Figure(f"idle connection, {one.name}: memory", held, "B",
                               TARGET_BYTES if ours else None),
                        Figure(f"idle connection, {one.name}: kept after it", kept, "B")]
            rows.append([one.name, f"{held / 1024:.1f} KB", f"{kept / 1024:.1f} KB"])
    print_table(f"{CONNECTIONS:,} idle connections, user memory of each",
                ["while open", "2 s after closing"], rows)
    return figures
