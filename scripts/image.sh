#!/usr/bin/env bash
# Builds the Dockerfile's image without Docker and without an image registry, around the program that cargo built, and prints
# the archive that holds it. The base image is made from Debian's packages; it and FFmpeg's layer are kept in .cache. As root.
#
#   scripts/image.sh [--architecture <Debian's name>] [--tag <name:tag>] [<program>]
#       default: this machine's, camera-operator:test, target/debug/camera-operator
#
# `scripts/cluster.sh load-image <archive>` brings it into the test cluster. An image for another architecture needs the kernel to
# know its emulator, and STRIP to name its strip (scripts/arm64.sh sees to both). Exit code 77: it cannot be built here.
set -euo pipefail
cd "$(dirname "$0")/.."

tag=docker.io/library/camera-operator:test
architecture=
while :; do
    case "${1:-}" in
        --tag) tag=${2:?--tag wants a name} ;;
        --architecture) architecture=${2:?--architecture wants a name} ;;
        *) break ;;
    esac
    shift 2
done
program=${1:-target/debug/camera-operator}
# Images of one name and two architectures keep out of one another's way.
cache=${CAMERA_OPERATOR_CACHE:-$PWD/.cache}/image${architecture:+-$architecture}
debian=bookworm
base=docker.io/library/debian:$debian-slim

say() { printf '%s\n' "$*" >&2; }
if [ "$(id -u)" -ne 0 ]; then
    say "no image here: building one needs root"
    exit 77
fi
scripts/install.sh image || { say "no image here: its tools could not be installed (scripts/install.sh image)"; exit 77; }
[ -x "$program" ] || { say "there is no program at $program (cargo build)"; exit 1; }

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
export BUILDAH_ISOLATION=chroot

# A container storage is one place on one disk: a copy of it, such as of another checkout's .cache, may have been made while it
# was written to, and then has layers of which something is missing. So a copy is known by where it lies, and made anew.
place=$(stat --format=%d:%i "$cache/storage" 2>/dev/null || true)
if [ -n "$place" ] && [ "$place" != "$(cat "$cache/storage.place" 2>/dev/null)" ]; then
    say "$cache/storage is a copy of another one: making it anew"
    rm -rf --one-file-system "$cache/storage" "$cache/run" "$cache"/program.*
fi
if [ ! -d "$cache/storage" ]; then
    mkdir "$cache/storage"
    stat --format=%d:%i "$cache/storage" >"$cache/storage.place"
fi
buildah=(nice -n 10 buildah --root "$cache/storage" --runroot "$cache/run" --storage-driver overlay)

# As Debian's own slim image: no documentation, no translations.
if ! "${buildah[@]}" inspect --type image "$base" >/dev/null 2>&1; then
    say "Making the base image ($base) from Debian's packages …"
    started=$SECONDS
    nice -n 10 mmdebstrap --variant=minbase --mode=root --quiet --aptopt='APT::Install-Recommends "false"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' ${architecture:+"--architectures=$architecture"} \
        "$debian" "$cache/base.tar" \
        "deb http://deb.debian.org/debian $debian main" "deb http://deb.debian.org/debian $debian-updates main" \
        "deb http://deb.debian.org/debian-security $debian-security main" >&2 </dev/null
    container=$("${buildah[@]}" from ${architecture:+--arch "$architecture"} scratch)
    "${buildah[@]}" add --quiet "$container" "$cache/base.tar" / >/dev/null
    "${buildah[@]}" config --cmd /bin/bash "$container"
    "${buildah[@]}" commit --quiet "$container" "$base" >/dev/null
    "${buildah[@]}" rm "$container" >/dev/null
    rm "$cache/base.tar"
    say "made in $((SECONDS - started)) s"
fi

context=$(mktemp -d "$cache/program.XXXXXX")
trap 'rm -rf "$context"' EXIT
# Line numbers for backtraces are most of a debug build's size.
"${STRIP:-strip}" -o "$context/camera-operator" "$program"
# The same program gives the same layer.
touch --date=@0 "$context/camera-operator"

archive=$cache/$(basename "${tag/:/-}").tar
started=$SECONDS
"${buildah[@]}" build --quiet --layers --pull-never ${architecture:+--platform "linux/$architecture"} \
    --build-context "build=$context" \
    --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" --tag "$tag" . >/dev/null </dev/null
# Somebody may be reading the one before.
rm -f "$archive.new"
"${buildah[@]}" push --quiet "$tag" "docker-archive:$archive.new:$tag" >&2
mv "$archive.new" "$archive"
say "image $tag in $((SECONDS - started)) s: $(du -h "$archive" | cut -f1) unpacked"
echo "$archive"
