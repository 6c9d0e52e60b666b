#!/bin/bash
# Installs the supervisors that go-overlay is compared with: from Debian as root, from PyPI and crates.io into the
# build folder. What cannot be had is said, and the comparison goes on without.
set -uo pipefail
cd "$(dirname "$0")/.."

TARGET="${CARGO_TARGET_DIR:-target}"
VENV="$TARGET/bench-venv"
TOOLS="$TARGET/bench-tools"

missing=()
for entry in s6-svscan:s6 runsvdir:runit tini:tini dumb-init:dumb-init strace:strace; do
    command -v "${entry%%:*}" >/dev/null || missing+=("${entry##*:}")
done
if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    POLICY=/usr/sbin/policy-rc.d
    if [ ! -e "$POLICY" ]; then
        # No package may start a service of its own here.
        printf '#!/bin/sh\nexit 101\n' >"$POLICY" && chmod 755 "$POLICY"
        trap 'rm -f "$POLICY"' EXIT
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null ||
        echo "setup: cannot install ${missing[*]}" >&2
fi
if [ ! -x "$VENV/bin/supervisord" ] || [ ! -x "$VENV/bin/circusd" ]; then
    python3 -m venv "$VENV" && "$VENV/bin/pip" install --quiet 'setuptools<81' supervisor circus ||
        echo "setup: cannot install supervisor and circus from PyPI" >&2
fi
if [ ! -x "$TOOLS/bin/horust" ]; then
    cargo install --quiet --locked --root "$TOOLS" --target-dir "$TOOLS/build" horust && rm -rf "$TOOLS/build" ||
        echo "setup: cannot install horust from crates.io" >&2
fi
exit 0
