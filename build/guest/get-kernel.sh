#!/bin/sh
# Fetches Debian's kernel for virtual machines and makes of it what a guest starts from, below target/guest: `vmlinuz` and `base.cpio`
# (busybox, ipvsadm, the modules of modules.txt, the start of init). Nothing is installed; with all there it does nothing.
set -eu

here="$(cd "$(dirname "$0")" && pwd)"
place="${1:-target/guest}"
mkdir -p "$place"
place="$(cd "$place" && pwd)"

package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
[ -n "$package" ] || { echo "apt knows no linux-image-cloud-amd64: run apt-get update" >&2; exit 1; }
stamp="$package $(cat "$here/modules.txt" "$here/init" "$0" | cksum)"
[ "$(cat "$place/stamp" 2>/dev/null)" != "$stamp" ] || exit 0

work=$(mktemp -d "$place/.part-XXXXXX")
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get download -qq "$package" 2>/dev/null && dpkg-deb -x "$package"*.deb tree)
version=$(ls "$work/tree/lib/modules")
tree="$work/tree/lib/modules/$version"
busybox depmod -b "$work/tree" "$version"

root="$work/root"
mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/sys" "$root/tmp" "$root/run" "$root/etc" "$root/lib/modules/$version"
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$here/init" "$root/init"
cp /etc/protocols "$root/etc/protocols"
chmod 755 "$root/init"

# A module, and those that it needs, the first needed last.
needed() {
    sed -n "s#^[^ ]*/$1\\.ko: *#&#p" "$tree/modules.dep" | tr -d ':'
}
: >"$root/etc/modules"
grep -v '^#' "$here/modules.txt" | while read -r name when; do
    files=$(needed "$name")
    if [ -z "$files" ]; then
        [ "$when" = optional ] || { echo "$package has no module $name" >&2; exit 1; }
        continue
    fi
    for file in $files; do
        mkdir -p "$root/lib/modules/$version/$(dirname "$file")"
        cp "$tree/$file" "$root/lib/modules/$version/$file"
    done
    [ "$when" = later ] || echo "$name" >>"$root/etc/modules"
done
busybox depmod -b "$root" "$version"

sh "$here/add-program.sh" "$root" ipvsadm
(cd "$root" && find . | cpio --quiet -o -H newc) >"$place/base.cpio"
cp "$work/tree/boot/vmlinuz-$version" "$place/vmlinuz"
echo "$stamp" >"$place/stamp"
