#!/bin/sh
# make-deb.sh BINARY DIRECTORY: packs `stead` with its units, man pages and completions as a Debian package. Installing it starts nothing.
# DEB_COMPRESSION: as dpkg-deb's -Z (default xz).
set -eu

binary="$(realpath "$1")"
out="$2"
here="$(cd "$(dirname "$0")/.." && pwd)"
version="$(sed -n 's/^version = "\(.*\)"$/\1/p' "$here/Cargo.toml" | head -n 1)"
architecture="$(dpkg --print-architecture)"
# That of the last commit: the archive's tools refuse files of 1970.
SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct 2>/dev/null || echo 1000000000)}"
export SOURCE_DATE_EPOCH

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT INT TERM
root="$work/root"
put() { # mode file destination
    install -D -m "$1" "$2" "$root/$3"
}

put 0755 "$binary" usr/bin/stead
for part in proxy server node; do
    put 0644 "$here/packaging/systemd/stead-$part.service" "usr/lib/systemd/system/stead-$part.service"
    put 0644 "$here/packaging/default/stead-$part" "etc/default/stead-$part"
done
install -d -m 0755 "$root/etc/stead"
put 0644 "$here/packaging/kubernetes/stead-proxy.yaml" usr/share/doc/stead/examples/stead-proxy.yaml
put 0644 "$here/examples/hello-world.yaml" usr/share/doc/stead/examples/hello-world.yaml
"$binary" man "$work/man" >/dev/null
for page in "$work"/man/*.1; do
    gzip -9n "$page"
    put 0644 "$page.gz" "usr/share/man/man1/$(basename "$page").gz"
done
for shell in bash zsh fish; do
    "$binary" completion "$shell" >"$work/$shell"
done
put 0644 "$work/bash" usr/share/bash-completion/completions/stead
put 0644 "$work/zsh" usr/share/zsh/vendor-completions/_stead
put 0644 "$work/fish" usr/share/fish/vendor_completions.d/stead.fish
gzip -9nc "$here/CHANGELOG.md" >"$work/changelog.gz"
put 0644 "$work/changelog.gz" usr/share/doc/stead/changelog.gz
put 0644 "$here/LICENSE" usr/share/doc/stead/copyright

install -d -m 0755 "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<CONTROL
Package: stead
Version: $version
Architecture: $architecture
Section: net
Priority: optional
Maintainer: The Stead authors <stead@stead.local>
Installed-Size: $(du -sk "$root/usr" | cut -f 1)
Suggests: kubernetes-client, iptables, busybox-static
Description: Kubernetes Services as a product of their own
 One steady virtual IP and one name for backends that come and go, declared with
 the YAML and the kubectl of Kubernetes. It runs without Kubernetes, or on a
 Kubernetes cluster in the place of kube-proxy.
CONTROL
printf '/etc/default/stead-%s\n' node proxy server >"$root/DEBIAN/conffiles"
cat >"$work/reload" <<'SCRIPT'
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
SCRIPT
cat >"$work/prerm" <<'SCRIPT'
#!/bin/sh
# Removing the package ends what runs, containers and the kernel's rules too, where nobody else's proxy holds them; an upgrade does not,
# since the kernel goes on forwarding and the next start adopts it.
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now stead-proxy.service stead-node.service stead-server.service
    systemctl kill --kill-whom=all stead-node.service 2>/dev/null || true
    stead proxy --cleanup || true
fi
SCRIPT
cat >"$work/postinst" <<'SCRIPT'
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    if [ -n "${2:-}" ]; then
        systemctl try-restart stead-proxy.service stead-node.service stead-server.service
    fi
fi
SCRIPT
install -m 0755 "$work/postinst" "$root/DEBIAN/postinst"
install -m 0755 "$work/prerm" "$root/DEBIAN/prerm"
install -m 0755 "$work/reload" "$root/DEBIAN/postrm"

mkdir -p "$out"
dpkg-deb --root-owner-group "-Z${DEB_COMPRESSION:-xz}" --build "$root" "$out/stead_${version}_$architecture.deb"
