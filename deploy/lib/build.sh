#!/usr/bin/env bash
# build.sh PRESET [-DNAME=VALUE...] [TARGET...]: configures and builds, quiet but for progress and errors.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
preset=$1
shift
definitions=()
while [[ ${1-} == -D* ]]; do
  definitions+=("$1")
  shift
done
case $preset in
  release) directory=build ;;
  *) directory=build-$preset ;;
esac

[ -e CMakePresets.json ] || ln -s .cmake/presets.json CMakePresets.json
mkdir -p "$directory"
log=$directory/build.log
if ! cmake --preset "$preset" "${definitions[@]}" >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  echo "Configuring failed; its whole output is in $log" >&2
  exit 1
fi

# A large C++ file takes up to a gigabyte of memory.
jobs=$(nproc)
memory_gb=$(awk '/MemAvailable/ { print int($2 / 1000000) }' /proc/meminfo)
[ "$memory_gb" -ge "$jobs" ] || jobs=$((memory_gb > 0 ? memory_gb : 1))

targets=()
[ $# -eq 0 ] || targets=(--target "$@")
if [ -t 1 ]; then live=1; else live=0; fi
if ! cmake --build --preset "$preset" -j "$jobs" "${targets[@]}" 2>&1 | tee -a "$log" |
    awk -v live="$live" -v name="$preset" '
      match($0, /^\[[0-9]+\/[0-9]+\]/) {
        split(substr($0, 2, RLENGTH - 2), n, "/")
        percent = int(100 * n[1] / n[2])
        if (live) { printf "\rBuilding %s: %3d %% (%d of %d)", name, percent, n[1], n[2]; fflush() }
        else if (percent >= due) { printf "Building %s: %d %%\n", name, percent; due = percent + 20; fflush() }
        next
      }
      /^ninja: no work to do/ || /^ninja: Entering/ { next }
      { if (live) printf "\n"; print; fflush() }
      END { if (live) printf "\n" }'; then
  echo "The build failed; its whole output is in $log" >&2
  exit 1
fi
