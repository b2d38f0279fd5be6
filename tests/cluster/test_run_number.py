"""Two runs at a time on one machine."""

import subprocess
import sys
from pathlib import Path

import run_number


def test_two_runs_whose_process_ids_are_alike_get_different_numbers():
    ours = run_number.claim(7)
    again = subprocess.run([sys.executable, "-c", f"import run_number; print(run_number.claim({ours}))"],
                           cwd=Path(run_number.__file__).parent, capture_output=True, text=True,
                           check=True)
    assert 0 <= int(again.stdout) < run_number.RUNS
    assert int(again.stdout) != ours
