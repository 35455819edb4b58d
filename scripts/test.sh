#!/usr/bin/env bash
# Runs every check and test, all of them even when an early one fails, cargo's tests last. The last line says how it went.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.cache/tools/bin:$PATH"
exec </dev/null

failed_checks=()
skipped_checks=()
check() { # <what> <command…>; a command that ends with 77 has said which tool it lacks
    local what=$1 started=$SECONDS status=0
    shift
    echo "== $what"
    "$@" || status=$?
    case $status in
        0) echo "   ok ($((SECONDS - started)) s)" ;;
        77)
            echo "   SKIPPED: $what"
            skipped_checks+=("$what")
            ;;
        *)
            echo "   FAILED: $what"
            failed_checks+=("$what")
            ;;
    esac
}

check "the page: types, unit tests, build" scripts/page.sh --test
check "format" cargo fmt --all --check
check "lints, licences, sources" scripts/lint.sh
check "generated files are those of the code" scripts/generate.sh --check
check "chart: helm lint" scripts/chart.sh lint
check "chart: renders what tests/chart/golden says" scripts/chart.sh renders
check "chart: refuses wrong values, and says why" scripts/chart.sh refused
check "chart: its custom resource definitions are those of crds/" scripts/chart.sh definitions
check "chart and examples: Kubernetes' schemas" scripts/chart.sh schemas
check "alerts: rules, tests, runbooks" scripts/chart.sh alerts
check "dashboards: expressions and metrics" scripts/chart.sh dashboards
check "GitOps: health of our kinds in Argo CD" scripts/chart.sh health
check "GitOps: Kustomize overlays" scripts/chart.sh kustomize

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
for what in "${skipped_checks[@]}"; do
    echo "skipped: $what"
done
for what in "${failed_checks[@]}"; do
    echo "failed: $what"
done
failed=$((failed + ${#failed_checks[@]}))
echo "$passed passed, $failed failed, $ignored ignored"
[ "$failed" -eq 0 ]
