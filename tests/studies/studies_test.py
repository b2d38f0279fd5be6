#!/usr/bin/env python3
"""Each study runs to its end, small and without traces, and prints every table that it has.

A study is an executable file in this folder; one without an entry in TABLES has one table at least.

usage: studies_test.py DUALMESH_REPLAY [STUDY...]
"""

import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

HERE = Path(__file__).resolve().parent
TABLES = {"fairness": 7, "workloads": 2, "affinity": 5, "instances": 3, "herding": 2, "paper": 8,
          "staleness": 3, "residency": 6}
DRAWING = {"workloads", "affinity", "instances", "herding", "paper", "staleness", "residency"}


def studies():
    return sorted(file for file in HERE.iterdir()
                  if file.is_file() and not file.suffix and os.access(file, os.X_OK))


def tables(text):
    """The Markdown tables of a text, each a list of rows, each a list of cells."""
    found, before = [], ""
    for line in text.splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        before = line
    return found


def check(study, program, folder):
    """Runs a study twice; the second time nothing is left to run."""
    figures, plots = folder / "figures.json", folder / "plots"
    command = [study, "--quick", "--replay", program, "--traces", folder, "--json", figures,
               "--plot", plots]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, (study.name, done.stderr[-2000:])
    assert "left out: " in done.stderr, f"{study.name} is silent about the missing traces"
    found = tables(done.stdout)
    wanted = TABLES.get(study.name)
    assert len(found) == wanted or (wanted is None and found), (study.name, len(found), wanted)
    for rows in found:
        assert len(rows) > 2, (study.name, rows)
        assert {len(row) for row in rows} == {len(rows[0])} and all(rows[0]), (study.name, rows)
        for row in rows[2:]:
            assert row[0] and any(letter.isdigit() for cell in row[1:] for letter in cell), row
    assert json.loads(figures.read_text(encoding="utf-8")), study.name
    for plot in plots.glob("*.svg"):
        ElementTree.parse(plot)
    assert study.name not in DRAWING or list(plots.glob("*.svg")), f"{study.name} draws nothing"
    if study.name in DRAWING:
        again = subprocess.run([*command, "--again", figures], capture_output=True, text=True,
                               timeout=300, check=True)
        assert again.stdout == done.stdout, f"{study.name} is not the same again"


def main():
    program, only = Path(sys.argv[1]).resolve(), sys.argv[2:]
    for study in studies():
        if only and study.name not in only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            check(study, program, Path(folder))
        print(f"{study.name}: good")


if __name__ == "__main__":
    main()
