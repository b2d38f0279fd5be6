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

# Ninja's counters become one moving line on a terminal, else a line per fifth; a shell loop, because
# Debian's awk holds back what it reads from a pipe.
show_progress() {
  local line percent due=0 live=0
  [ ! -t 1 ] || live=1
  while IFS= read -r line; do
    if [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]]; then
      percent=$((100 * BASH_REMATCH[1] / BASH_REMATCH[2]))
      if [ $live = 1 ]; then
        printf '\rBuilding %s: %3d %% (%d of %d)' "$preset" $percent "${BASH_REMATCH[@]:1}"
      elif [ $percent -ge $due ]; then
        printf 'Building %s: %d %%\n' "$preset" $percent
        due=$((percent + 20))
      fi
    elif [[ $line != "ninja: no work to do"* && $line != "ninja: Entering"* ]]; then
      [ $live = 0 ] || printf '\n'
      printf '%s\n' "$line"
    fi
  done
  [ $live = 0 ] || printf '\n'
}

if ! cmake --build --preset "$preset" -j "$jobs" "${targets[@]}" 2>&1 | tee -a "$log" | show_progress; then
  echo "The build failed; its whole output is in $log" >&2
  exit 1
fi
