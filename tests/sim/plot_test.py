#!/usr/bin/env python3
"""The plots of mesh_scenario are XML that a browser can show, and say what they must.

usage: plot_test.py MESH_SCENARIO
"""

import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SVG = "{http://www.w3.org/2000/svg}"


def check_plot(path, nodes):
    root = ElementTree.parse(path).getroot()
    assert root.tag == SVG + "svg", root.tag
    width, height = (float(root.get(name)) for name in ("width", "height"))
    assert root.get("viewBox") == f"0 0 {width:g} {height:g}"
    background = root.find(SVG + "rect")
    assert float(background.get("width")) == width and background.get("fill").startswith("#")
    texts = [text.text for text in root.iter(SVG + "text")]
    for name in nodes:
        assert texts.count(name) == 1, f"{name} is not in the legend"
    for word in ("virtual time, seconds", "rings", "registry", "depth", "load"):
        assert word in texts, word
    for text in root.iter(SVG + "text"):
        assert 0 <= float(text.get("x")) <= width and 0 <= float(text.get("y")) <= height, text.text
    assert path.stat().st_size < 60_000, path.stat().st_size


def main():
    program = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        for scenario in ("partition", "join", "storm", "restart"):
            plot, figures = Path(folder) / "plot.svg", Path(folder) / "figures.json"
            done = subprocess.run([program, "--scenario", scenario, "--nodes", "4", "--seconds", "12",
                                   "--plot", str(plot), "--json", str(figures)],
                                  capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "\x1b" not in done.stdout + done.stderr, "draws on what is no terminal"
            check_plot(plot, [f"n{i}" for i in range(4)])
            told = json.loads(figures.read_text())
            assert told["scenario"] == scenario and len(told["samples"]) == 600
            assert told["converged_ms"] is not None and told["agreed"]
            print(f"{scenario}: good")
    check_plot(ROOT / "node" / "convergence.svg", [f"n{i}" for i in range(8)])
    wrong = subprocess.run([program, "--scenario", "flood"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "flood" in wrong.stderr, wrong
    helped = subprocess.run([program, "--help"], capture_output=True, text=True)
    assert helped.returncode == 0 and "Examples:" in helped.stdout, helped


if __name__ == "__main__":
    main()
