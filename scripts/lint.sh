#!/usr/bin/env bash
# Clippy without mercy; and, where cargo-deny is installed, licences, banned crates and sources (no network needed).
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.cache/tools/bin:$PATH"

cargo clippy --locked --quiet --all-targets -- -D warnings
if command -v cargo-deny >/dev/null 2>&1; then
    cargo deny --offline --log-level warn check licenses bans sources
else
    echo "cargo-deny is not installed, so licences and sources are not checked (scripts/install.sh lint installs it)" >&2
fi
