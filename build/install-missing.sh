#!/bin/sh
# Installs the Debian packages whose commands are missing; with the word `clients`, those by which tests fetch clients in other
# languages. With everything there it changes nothing and needs no rights.
set -eu

missing=""
need() { # command package
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] || missing="$missing $2"
}

need_file() { # file package
    [ -e "$1" ] || missing="$missing $2"
}

if [ "${1:-}" = clients ]; then
    need python3 python3
    python3 -m pip --version >/dev/null 2>&1 || missing="$missing python3-pip"
    need node nodejs
    need npm npm
else
    need cc gcc
    need_file /usr/include/stdlib.h libc6-dev
    need_file /etc/protocols netbase
    need busybox busybox-static
    need curl curl
    need ip iproute2
    need nft nftables
    need iptables iptables
    need conntrack conntrack
    need kubectl kubernetes-client
    need qemu-system-x86_64 qemu-system-x86
    need ipvsadm ipvsadm
    need cpio cpio
    need strip binutils
fi

[ -n "$missing" ] || exit 0
echo "installing:$missing"
if [ "$(id -u)" -ne 0 ]; then
    echo "run this as root, or install first:$missing" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 — a list of words
apt-get install -y -qq --no-install-recommends $missing
