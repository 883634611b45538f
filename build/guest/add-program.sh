#!/bin/sh
# add-program.sh ROOT PROGRAM: copies a program to ROOT/bin, and the shared libraries that it needs to where they are here.
set -eu

root="$1"
program=$(PATH="$PATH:/usr/sbin:/sbin" command -v "$2") || { echo "$2 is not there: make deps" >&2; exit 1; }
mkdir -p "$root/bin"
cp "$program" "$root/bin/${3:-$(basename "$program")}"
ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
