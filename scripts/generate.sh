#!/usr/bin/env bash
# Writes the files that are generated from the code; with --check, fails when those in the repository are stale.
set -euo pipefail
cd "$(dirname "$0")/.."

target=.
if [ "${1:-}" = --check ]; then
    target=$(mktemp -d)
    trap 'rm -rf "$target"' EXIT
fi
cargo run --quiet --locked -- crds --dir "$target/crds"
cargo run --quiet --locked -- openapi --file "$target/docs/openapi.json"
cargo run --quiet --locked -- reference --file "$target/docs/api-reference.md"
if [ "$target" != . ]; then
    { diff -ru crds "$target/crds" && diff -u docs/openapi.json "$target/docs/openapi.json" && diff -u docs/api-reference.md "$target/docs/api-reference.md"; } || { echo "stale: run make generate and commit the result" >&2; exit 1; }
fi
