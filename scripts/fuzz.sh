#!/usr/bin/env bash
# Fuzzes every target for so many seconds (60 by default), or the one that is named. What is found stays out of the
# repository: an input that breaks something is in fuzz/artifacts/, new ones that lead further are in fuzz/found/. Once mended, an
# artifact belongs into fuzz/corpus/, which `make test` replays.
#
#   scripts/fuzz.sh [seconds] [target]
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.cache/tools/bin:$PATH"

seconds=${1:-60}
# The pinned compiler can instrument for coverage, but wants to be told that this is meant. Without sanitizers: there is no
# unsafe code to watch, and they need another compiler.
export RUSTC_BOOTSTRAP=1

# The libraries that are fuzzed are those that the program has.
cp Cargo.lock fuzz/Cargo.lock

for target in ${2:-$(cargo fuzz list)}; do
    echo "== $target, $seconds s"
    mkdir -p "fuzz/found/$target"
    cargo fuzz run --dev -s none "$target" "fuzz/found/$target" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1
done
