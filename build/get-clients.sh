#!/bin/sh
# Unpacks clients of the API that tests drive below target/clients, once: nothing is installed, no rights are needed.
# Where one cannot be had this says so and goes on; its tests say so too.
set -eu

place="${1:-target/clients}"
mkdir -p "$place"

# Debian's kubectl of 2020: legacy discovery, OpenAPI v2 as protobuf, SPDY.
older_kubectl() {
    kept="$place/kubectl-older"
    [ ! -x "$kept/usr/bin/kubectl" ] || return 0
    work=$(mktemp -d "$place/.part-XXXXXX")
    if (cd "$work" && apt-get download -qq kubernetes-client) >"$work/log" 2>&1 &&
        dpkg-deb -x "$work"/*.deb "$work/root" && mv "$work/root" "$kept"; then
        rm -rf "$kept/usr/share"
    else
        echo "no older kubectl for tests: $(cat "$work/log")" >&2
    fi
    rm -rf "$work"
}

older_kubectl
