#!/usr/bin/env python3
"""The rules of the house, checked on the source text: who may include whom, what lies where.

Prints each violation as file:line: rule, and fails. Before that it checks itself: planted violations
must be found.
"""

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOP_LEVEL = {"CMakeLists.txt", "README.md", "LICENSE", "node", "crdt", "net", "policies", "tests",
             "deploy"}
FOLDERS = ("crdt", "policies", "net", "node", "tests")
# Own folders that the sources of a folder may include.
MAY_USE = {
    "crdt": {"crdt"},
    "policies": {"policies"},
    "net": {"net", "crdt"},
    "node": {"node", "net", "crdt", "policies"},
    "tests": {"node", "net", "crdt", "policies", "tests"},
}
PURE = {"crdt", "policies"}
PURE_LIBRARIES = re.compile(r"boost/|xxhash\.h$|emmintrin\.h$|[a-z_0-9]+$")  # the third: instructions
# Headers of I/O, threads and clocks; <chrono> holds durations as well, so now() is looked for below.
IMPURE_STANDARD = {"thread", "mutex", "shared_mutex", "condition_variable", "future", "fstream",
                   "iostream", "filesystem", "cstdio", "ctime", "csignal", "atomic"}
# Except where what one thread writes is read by others without a lock.
ATOMIC_PLACES = re.compile(r"policies/(index/|block_index)")
CLOCK_READ = re.compile(r"(steady|system|resolution)_clock::now\s*\(|\btime\s*\(\s*(nullptr|NULL|0)\s*\)")
KJ_PLACES = re.compile(r"(net/mesh_[^/]*|net/[^/]*codec[^/]*|node/mesh/[^/]+|node/ctl/[^/]+|"
                       r"tests/.*)$")
KJ_HEADER = re.compile(r"(kj|capnp)/|.*\.capnp\.h$")
# Headers of net/ that hold Asio types are for net/ alone: see asio_leaks.
ASIO_PLACES = re.compile(r"net/[^/]+$")
ASIO_HEADER = re.compile(r"asio(\.hpp$|/)")
INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')
MAX_LINES = 400
MAX_COLUMNS = 100


def include_violation(path, bracket, header):
    """Why the file at `path` may not include `header`; None when it may."""
    folder = path.split("/")[0]
    if ASIO_HEADER.match(header) and not ASIO_PLACES.match(path):
        return f"Asio headers belong in net/: {header}"
    if KJ_HEADER.match(header) and not KJ_PLACES.match(path):
        return f"Cap'n Proto headers belong in the mesh files: {header}"
    if bracket == '"':
        owner = header.split("/")[0]
        if owner not in MAY_USE[folder]:
            return f"{folder} may not include {header}"
    elif folder in PURE:
        if header in IMPURE_STANDARD and not (header == "atomic" and ATOMIC_PLACES.match(path)):
            return f"{folder} is pure: no <{header}>"
        if not PURE_LIBRARIES.match(header):
            return f"{folder} may use std, Boost and xxHash only: {header}"
    return None


def file_violations(path, text):
    """(line, message) pairs for one source file."""
    lines = text.split("\n")
    folder = path.split("/")[0]
    for number, line in enumerate(lines, 1):
        include = INCLUDE.match(line)
        if include:
            problem = include_violation(path, *include.groups())
            if problem:
                yield number, problem
        if folder in PURE and CLOCK_READ.search(line):
            yield number, f"{folder} reads no clock: time is an argument"
        if len(line) > MAX_COLUMNS:
            yield number, f"longer than {MAX_COLUMNS} columns"
        if re.search(r"\b(TODO|FIXME|XXX)\b", line):
            yield number, "unfinished business"
        if re.search(r"define\s+NDEBUG", line):
            yield number, "assertions stay on"
    if len(lines) - 1 > MAX_LINES and folder != "tests":
        yield len(lines), f"more than {MAX_LINES} lines: split it"
    if path.endswith(".h"):
        if "#pragma once" not in text:
            yield 1, "no #pragma once"
        if not text.startswith("//"):
            yield 1, "a header opens with what it is"


def asio_leaks(texts):
    """Headers that hold Asio types, included from outside net/; `texts` by path."""
    includes = {path: [match.group(2) for match in map(INCLUDE.match, text.split("\n")) if match]
                for path, text in texts.items()}
    private = {path for path, headers in includes.items()
               if path.endswith(".h") and any(ASIO_HEADER.match(header) for header in headers)}
    for path in sorted(includes):
        for header in includes[path]:
            if header in private and not path.startswith(("net/", "tests/net/")):
                yield f"{path}: {header} holds Asio types and is for net/ alone"


def source_files():
    for folder in FOLDERS:
        for directory, _, names in os.walk(ROOT / folder):
            for name in sorted(names):
                if name.endswith((".h", ".cc")):
                    yield (Path(directory) / name).relative_to(ROOT).as_posix()


def top_level_violations(names):
    for name in sorted(names):
        built = name == "build" or name.startswith("build-") or name == "CMakePresets.json"
        if not name.startswith(".") and not built and name not in TOP_LEVEL:
            yield f"{name}: not one of the agreed entries of the top level"
    for name in sorted(TOP_LEVEL - set(names)):
        yield f"{name}: missing"


PLANTED = [
    ("crdt/a.cc", '#include "policies/ring.h"'),
    ("crdt/a.cc", "#include <mutex>"),
    ("policies/a.cc", "#include <atomic>"),
    ("crdt/a.cc", "#include <spdlog/spdlog.h>"),
    ("crdt/a.cc", "auto t = std::chrono::steady_clock::now();"),
    ("policies/a.h", '#pragma once\n#include "crdt/feed.h"'),
    ("policies/a.cc", "#include <unistd.h>"),
    ("net/a.cc", '#include "node/router/config.h"'),
    ("net/a.cc", '#include "policies/load.h"'),
    ("net/http_a.cc", "#include <kj/async.h>"),
    ("node/router/a.cc", "#include <asio/ip/tcp.hpp>"),
    ("node/router/a.cc", '#include "net/mesh.capnp.h"'),
    ("node/a.cc", '#include "tests/lib/traces.h"'),
    ("node/a.h", "#pragma once"),
    ("node/a.h", "// A header.\n"),
    ("node/a.cc", "x" * 101),
    ("node/a.cc", "\n" * 401),
    ("node/a.cc", "// TODO later"),
]
ALLOWED = [
    ("crdt/a.cc", '#include "crdt/feed.h"\n#include <boost/container/flat_map.hpp>\n'
                  "#include <xxhash.h>\n#include <vector>"),
    ("policies/a.cc", '#include "policies/ring.h"\n#include <chrono>'),
    ("net/mesh_link.cc", '#include "crdt/feed.h"\n#include <kj/async.h>\n#include <capnp/rpc.h>'),
    ("policies/index/a.h", "// A table.\n#pragma once\n#include <atomic>"),
    ("net/a.cc", "#include <asio.hpp>"),
    ("node/mesh/a.cc", '#include "net/mesh.capnp.h"\n#include "policies/ring.h"'),
]


def check_self():
    for path, text in PLANTED:
        if not list(file_violations(path, text)):
            return f"the planted violation in {path} was not found: {text[:60]!r}"
    for path, text in ALLOWED:
        found = list(file_violations(path, text))
        if found:
            return f"{path}: allowed, yet reported: {found}"
    if not list(asio_leaks({"net/a.h": "#include <asio.hpp>", "node/a.cc": '#include "net/a.h"'})):
        return "the planted leak of Asio was not found"
    if len(list(top_level_violations((TOP_LEVEL | {"src", "build", ".git"}) - {"LICENSE"}))) != 2:
        return "the planted top-level entries were not found"
    return None


def main():
    broken = check_self()
    if broken:
        print(broken)
        return 1
    violations = list(top_level_violations(os.listdir(ROOT)))
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in source_files()}
    for path, text in texts.items():
        violations += [f"{path}:{line}: {message}" for line, message in file_violations(path, text)]
    violations += asio_leaks(texts)
    print("\n".join(violations + [f"{len(texts)} files, {len(violations)} violations"]))
    return 1 if violations or not texts else 0


if __name__ == "__main__":
    sys.exit(main())
