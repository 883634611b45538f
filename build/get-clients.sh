#!/bin/sh
# Fetches clients of the API that tests drive into target/clients, once: nothing is installed, no rights are needed (but where
# Python's or JavaScript's own installer is missing). Where one cannot be had this says so and goes on; its tests then fail.
set -eu

here="$(cd "$(dirname "$0")" && pwd)"
place="${1:-target/clients}"
mkdir -p "$place"

# Debian's kubectl of 2020: legacy discovery, OpenAPI v2 as protobuf, SPDY.
older_kubectl() {
    (cd "$work" && apt-get download -qq kubernetes-client) && dpkg-deb -x "$work"/*.deb "$work/made" && rm -rf "$work/made/usr/share"
}

# An interpreter of its own, whose packages are named with their hashes. Its own half for asyncio is large and not driven.
python() {
    python3 -m venv --without-pip "$work/made" &&
        python3 -m pip --python "$work/made/bin/python" install --quiet --disable-pip-version-check --no-compile --no-deps \
            --require-hashes --only-binary :all: -r "$here/clients/python.txt" &&
        rm -rf "$work"/made/lib/python*/site-packages/kubernetes/aio
}

javascript() {
    mkdir "$work/made" && cp "$here/clients/package.json" "$here/clients/package-lock.json" "$work/made" &&
        (cd "$work/made" && npm ci --silent --ignore-scripts --no-audit --no-fund --no-update-notifier) &&
        find "$work/made" -type f \( -name '*.map' -o -name '*.d.ts' \) -delete
}

# Makes `place/NAME` by the function FUNCTION unless the same STAMP made it before; a part that fails leaves nothing.
client() { # name function stamp
    kept="$place/$1"
    [ "$(cat "$kept.stamp" 2>/dev/null)" != "$3" ] || [ ! -d "$kept" ] || return 0
    work=$(mktemp -d "$place/.part-XXXXXX")
    if "$2" >"$work/log" 2>&1; then
        rm -rf "$kept" && mv "$work/made" "$kept" && echo "$3" >"$kept.stamp"
    else
        echo "the client $1 cannot be had: $(cat "$work/log")" >&2
    fi
    rm -rf "$work"
}

stamp() { cat "$@" | cksum; }

if ! python3 -m pip --version >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then
    sh "$here/install-missing.sh" clients || echo "clients in Python and JavaScript cannot be had" >&2
fi
client kubectl-older older_kubectl 1 &
client python python "$(stamp "$here/clients/python.txt")" &
client javascript javascript "$(stamp "$here/clients/package-lock.json")" &
wait
