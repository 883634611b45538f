#!/bin/sh
# run.sh SECONDS PROGRAM [ARGUMENT…]: runs a program of this machine in the guest, with the shared libraries that it needs here, and ends as it
# does; fails where that takes more than so many seconds. Variables named STEAD_* go along. Emulated, so that it runs where no virtual
# machine may: everything takes 10 to 20 times as long.
set -eu

here="$(cd "$(dirname "$0")" && pwd)"
place="${STEAD_GUEST:-$here/../../target/guest}"
[ -e "$place/base.cpio" ] || { echo "$place/base.cpio is not there: \`make guest\` makes it" >&2; exit 1; }
command -v qemu-system-x86_64 >/dev/null || { echo "qemu-system-x86_64 is not there: \`make deps\` installs it" >&2; exit 1; }
seconds="$1" program="$2"
shift 2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/root"
sh "$here/add-program.sh" "$work/root" "$program" program
strip "$work/root/bin/program" 2>/dev/null || true
quoted() { printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }
{
    env | sed -n 's/^\(STEAD_[A-Z_]*\)=.*/\1/p' | while read -r name; do
        eval "value=\$$name"
        printf 'export %s=' "$name" && quoted "$value" && echo
    done
    printf 'exec /bin/program'
    for argument in "$@"; do printf ' ' && quoted "$argument"; done
    echo
} >"$work/root/run-this"
{ cat "$place/base.cpio" && (cd "$work/root" && find . | cpio --quiet -o -H newc); } >"$work/initrd"

# One processor: whoever tests has few, and two emulated ones wait for each other.
timeout "$seconds" qemu-system-x86_64 -M pc -accel tcg -cpu max -smp 1 -m "${STEAD_GUEST_MEMORY:-768}" -nodefaults -no-user-config \
    -display none -serial stdio -no-reboot -kernel "$place/vmlinuz" -initrd "$work/initrd" \
    -append "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable" </dev/null | tr -d '\r' | tee "$work/log"
grep -q '^guest: ended with 0 ' "$work/log" && exit 0
grep -q '^guest: ended with ' "$work/log" || echo "the guest did not come to its end within $seconds s" >&2
exit 1
