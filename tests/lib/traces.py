"""Where the tests find recorded traces; the Python twin of traces.h."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def trace_file(name):
    """The trace's path, or None when it is not on this machine."""
    folder = os.environ.get("DUALMESH_TRACES") or ROOT.parent / "shared" / "traces"
    path = Path(folder) / name
    return path if path.exists() else None
