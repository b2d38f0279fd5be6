"""Contestants that take turns: one table of what each found in each round, and figures from it."""

import math
import statistics
import sys

from figures import Figure
from front.machine import Noise

TARGETS = {"HAProxy": 1.25, "nginx": 1.0}


def in_turns(front, count, load):
    """{contestant: [load(contestant, seed), ...]}: all get the same in a round; orders differ."""
    found = {one.name: [] for one in front.contestants}
    for number in range(count):
        first = number % len(front.contestants)
        for one in front.contestants[first:] + front.contestants[:first]:
            found[one.name].append(load(one, number + 1))
    return found


def errors(measured):
    """Of all rounds; their texts go to standard error, once each."""
    for each in measured:
        for text, count in each.found["error_texts"].items():
            print(f"   {count} x {text}", file=sys.stderr)
    return sum(each.errors for each in measured)


def median(measured, value):
    """Infinite when there were errors: then it is no figure."""
    if any(each.errors for each in measured):
        return math.inf
    return statistics.median(value(each) for each in measured)


def ratio(found, name, to, value):
    """The median of the rounds' ratios: what slows one round slows both in it."""
    pairs = list(zip(found[name], found[to]))
    if any(one.errors or other.errors for one, other in pairs):
        return math.inf
    return statistics.median(value(one) / value(other) for one, other in pairs)


def noise_row(front, title):
    share = front.noise.share()
    loud = ""
    if share > Noise.NOISY:
        loud = ("behind us: --realtime" if front.realtime else
                "NOISY: measure again on a quiet machine")
    if loud:
        print(f"   {title}: others used {share:.0%} of the cores: {loud}", file=sys.stderr)
    return Figure(f"{title}: others on the machine", 100 * share, "% cores", note=loud)


def print_table(title, columns, rows):
    """In Markdown, for the README; `rows` are lists of texts."""
    print(f"\n{title}\n\n| | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print(flush=True)
