#!/usr/bin/env bash
# Writes the files that are generated from the code; with --check, fails when those in the repository are stale.
set -euo pipefail
cd "$(dirname "$0")/.."

generated=(crds charts/camera-operator/files/crds docs/openapi.json docs/api-reference.md)

target=.
if [ "${1:-}" = --check ]; then
    target=$(mktemp -d)
    trap 'rm -rf "$target"' EXIT
    mkdir -p "$target/docs" "$target/charts/camera-operator/files"
fi
# With the tests, so that it is the very program that they run: by itself it would have all crates compiled once more, as the
# tests ask for other features of some.
cargo build --quiet --locked --tests
program=target/debug/camera-operator
"$program" crds --dir "$target/crds"
"$program" crds --dir "$target/charts/camera-operator/files/crds"
"$program" openapi --file "$target/docs/openapi.json"
"$program" reference --file "$target/docs/api-reference.md"
[ "$target" != . ] || exit 0

stale=0
for path in "${generated[@]}"; do
    diff -ru "$path" "$target/$path" || stale=1
done
if [ "$stale" -ne 0 ]; then
    echo "generated files are stale: run make generate and commit the result" >&2
    exit 1
fi
