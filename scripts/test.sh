#!/usr/bin/env bash
# Runs every check and test, all of them even when an early one fails, cargo's tests last. The last line says how it went.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.cache/tools/bin:$PATH"
exec </dev/null

failed_checks=()
check() { # <what> <command…>
    local what=$1 started=$SECONDS
    shift
    echo "== $what"
    if "$@"; then
        echo "   ok ($((SECONDS - started)) s)"
    else
        echo "   FAILED: $what"
        failed_checks+=("$what")
    fi
}

check "the page: types, unit tests, build" scripts/page.sh --test
check "format" cargo fmt --all --check
check "lints, licences, sources" scripts/lint.sh
check "generated files are those of the code" scripts/generate.sh --check

echo "== unit, integration and end-to-end tests"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# One test a processor: each has a camera that encodes in real time, and a camera that cannot keep up drops pictures.
cargo test --locked --no-fail-fast 2>&1 | tee "$log"
cargo_status=${PIPESTATUS[0]}

read -r passed failed ignored < <(awk '
    /^test result: / { passed += $4; failed += $6; ignored += $8 }
    END { print passed + 0, failed + 0, ignored + 0 }' "$log")
# A test program that was killed, or did not compile, has no result line of its own.
if [ "$cargo_status" -ne 0 ] && [ "$failed" -eq 0 ]; then
    failed_checks+=("cargo test")
fi
for what in "${failed_checks[@]}"; do
    echo "failed: $what"
done
failed=$((failed + ${#failed_checks[@]}))
echo "$passed passed, $failed failed, $ignored ignored"
[ "$failed" -eq 0 ]
