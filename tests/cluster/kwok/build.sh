#!/usr/bin/env bash
# Builds the program that simulates nodes, once for each state of its sources, and prints its path. Apart from the test
# cluster's other programs: only the benchmark needs it, and it needs a newer Go than they do.
set -euo pipefail
cd "$(dirname "$0")"

cache=${CAMERA_OPERATOR_CACHE:-$PWD/../../../.cache}/cluster
sources=$(cat build.sh go.mod go.sum ./*.go | sha256sum | cut -c1-12)
program=$cache/kwok-$sources

say() { printf '%s\n' "$*" >&2; }

mkdir -p "$cache"
exec 9>"$cache/kwok.lock"
flock 9
if [ ! -x "$program" ]; then
    if ! command -v go >/dev/null 2>&1; then
        say "simulated nodes need Go 1.26 or later to be built (https://go.dev/dl)"
        exit 77
    fi
    say "building kwok $(sed -n 's|^\tsigs.k8s.io/kwok ||p' go.mod) (minutes, once) …"
    new=$(mktemp "$cache/kwok-new.XXXXXX")
    trap 'rm -f "$new"' EXIT
    CGO_ENABLED=0 GOFLAGS=-mod=readonly nice -n 10 go build -trimpath -ldflags "-s -w" -o "$new" . >&2
    chmod 755 "$new"
    mv "$new" "$program"
    trap - EXIT
    # Older states are of no more use.
    find "$cache" -mindepth 1 -maxdepth 1 -name 'kwok-*' ! -name "kwok-$sources" -type f -mtime +1 -delete
fi
echo "$program"
