#!/bin/sh
# make-image.sh BINARY ARCHIVE: packs a statically linked `stead` as an OCI image in one archive (image-spec 1.1, image layout), the same
# bytes for the same binary. `docker load`, `ctr images import`, `skopeo` and `stead image load` take it.
set -eu

binary="$1"
archive="$2"
version="$(sed -n 's/^version = "\(.*\)"$/\1/p' "$(dirname "$0")/../Cargo.toml" | head -n 1)"
name="stead.local/stead:$version"
case "$(uname -m)" in
    x86_64) architecture=amd64 ;;
    aarch64) architecture=arm64 ;;
    *) architecture="$(uname -m)" ;;
esac

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT INT TERM
mkdir -p "$work/root/usr/bin" "$work/layout/blobs/sha256"
install -m 0755 "$binary" "$work/root/usr/bin/stead"

pack() { # directory archive
    tar --create --file "$2" --directory "$1" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 .
}

# Puts a file among the blobs; says its digest and size as the fields of a descriptor.
blob() { # file
    digest="$(sha256sum "$1" | cut -d ' ' -f 1)"
    size="$(wc -c <"$1")"
    mv "$1" "$work/layout/blobs/sha256/$digest"
    printf '"digest":"sha256:%s","size":%d' "$digest" "$size"
}

pack "$work/root" "$work/layer.tar"
diff_id="sha256:$(sha256sum "$work/layer.tar" | cut -d ' ' -f 1)"
gzip -n "$work/layer.tar"
layer="$(blob "$work/layer.tar.gz")"

printf '{"architecture":"%s","os":"linux","created":"1970-01-01T00:00:00Z","config":{"Entrypoint":["/usr/bin/stead"],"Cmd":["proxy"],"Env":["PATH=/usr/bin"],"Labels":{"org.opencontainers.image.title":"stead","org.opencontainers.image.version":"%s","org.opencontainers.image.licenses":"Apache-2.0"}},"rootfs":{"type":"layers","diff_ids":["%s"]}}' \
    "$architecture" "$version" "$diff_id" >"$work/config.json"
config="$(blob "$work/config.json")"

media=application/vnd.oci.image
printf '{"schemaVersion":2,"mediaType":"%s.manifest.v1+json","config":{"mediaType":"%s.config.v1+json",%s},"layers":[{"mediaType":"%s.layer.v1.tar+gzip",%s}]}' \
    "$media" "$media" "$config" "$media" "$layer" >"$work/manifest.json"
manifest="$(blob "$work/manifest.json")"

printf '{"schemaVersion":2,"mediaType":"%s.index.v1+json","manifests":[{"mediaType":"%s.manifest.v1+json",%s,"annotations":{"org.opencontainers.image.ref.name":"%s","io.containerd.image.name":"%s"}}]}' \
    "$media" "$media" "$manifest" "$name" "$name" >"$work/layout/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$work/layout/oci-layout"

# What `docker load` before version 25 looks for.
file() { # descriptor
    hex="${1#*sha256:}"
    echo "blobs/sha256/${hex%%\"*}"
}
printf '[{"Config":"%s","RepoTags":["%s"],"Layers":["%s"]}]' "$(file "$config")" "$name" "$(file "$layer")" >"$work/layout/manifest.json"

mkdir -p "$(dirname "$archive")"
pack "$work/layout" "$archive"
echo "$name in $archive"
