# Sourced by scripts: install_packages FILE... installs the Debian packages listed in the files.

package_names() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$@"; }

missing_packages() {
  local name
  for name in $(package_names "$@"); do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || echo "$name"
  done
}

install_packages() {
  local missing as_root=()
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "This installs its packages with apt on Debian 12. On another system, install what these" \
         "files list and build with cmake: $*" >&2
    return 1
  fi
  missing=$(missing_packages "$@")
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
      echo "Not root and no sudo. As root: apt-get install" $missing >&2
      return 1
    }
    as_root=(sudo)
  fi
  echo "Installing packages:" $missing
  local log
  log=$(mktemp)
  # --no-remove: a conflict with what is on this machine is for its owner to solve.
  if "${as_root[@]}" apt-get update -q >"$log" 2>&1 &&
     "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-remove \
         --no-install-recommends $missing >>"$log" 2>&1; then
    rm -f "$log"
  else
    tail -n 20 "$log" >&2
    echo "apt-get failed; its whole output is in $log" >&2
    return 1
  fi
}
