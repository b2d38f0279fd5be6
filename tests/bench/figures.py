"""What a benchmark yields: named values with a unit and, where there is one, a target."""

import math
import os
from dataclasses import dataclass


class Skipped(Exception):
    """This machine cannot measure it; the text says what is missing."""


def trials(number, quick):
    """How often to try: `quick` times where only the benchmark itself is to be tried."""
    return quick if os.environ.get("DUALMESH_BENCH_QUICK") else number


@dataclass
class Figure:
    name: str
    value: float
    unit: str
    target: float | None = None
    at_most: bool = True  # how the target is meant
    note: str = ""

    def reached(self):
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target

    def verdict(self):
        reached = self.reached()
        return self.note if reached is None else ("reached" if reached else "NOT REACHED")

    def value_text(self):
        return f"{self.value:.4g}" if math.isfinite(self.value) else str(self.value)

    def target_text(self):
        return f"{'<=' if self.at_most else '>='} {self.target:g} {self.unit}"

    def as_json(self):
        return {"name": self.name, "value": self.value if math.isfinite(self.value) else None,
                "unit": self.unit, "target": self.target,
                "target_is": None if self.target is None else
                ("at most" if self.at_most else "at least"),
                "reached": self.reached(), "note": self.note}


def percentile(values, share):
    """Nearest rank; infinite when there is nothing."""
    if not values:
        return math.inf
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
