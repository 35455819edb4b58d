#!/usr/bin/env bash
# Runs every check and test, all of them even when an early one fails. The last line says how it went.
#
#   scripts/test.sh            everything: checks, tests that need no cluster, tests on a real Kubernetes
#   scripts/test.sh cluster    the tests on a real Kubernetes only (tests/cluster/README.md)
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.cache/tools/bin:$PATH"
exec </dev/null
what=${1:-everything}

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

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Runs cargo's tests and keeps what they print for the sum at the end.
cargo_test() { # <what> <longest time> <arguments of cargo test…>
    local what=$1 longest=$2 started=$SECONDS failed_before failed_after
    shift 2
    echo "== $what"
    failed_before=$(failures)
    timeout --kill-after=30s "$longest" cargo test --locked "$@" 2>&1 | tee -a "$log"
    local status=${PIPESTATUS[0]}
    failed_after=$(failures)
    # A test program that was killed, or did not compile, has no result line of its own.
    if [ "$status" -ne 0 ] && [ "$failed_before" -eq "$failed_after" ]; then
        failed_checks+=("$what (cargo test ended with $status)")
    fi
    echo "   $what took $((SECONDS - started)) s"
}
failures() { awk '/^test result: / { failed += $6 } END { print failed + 0 }' "$log"; }

if [ "$what" = everything ]; then
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
    # One test more than there are processors: each has a camera that encodes in real time, which takes a fifth of one, and a camera
    # that cannot keep up drops pictures.
    RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(nproc) + 1))} CAMERA_OPERATOR_TEST_CLUSTER=later \
        cargo_test "unit, integration and end-to-end tests" 55m --no-fail-fast
fi

# What cannot be had here (no root, no Go) the tests say themselves, test by test.
end_clusters() {
    local name
    for name in test-api test-pods; do
        scripts/cluster.sh --name "$name" down 2>/dev/null || true
    done
}
trap 'rm -f "$log"; end_clusters' EXIT
echo "== the test cluster's programs"
timeout 25m tests/cluster/build.sh >/dev/null || true
CAMERA_OPERATOR_TEST_CLUSTER=${CAMERA_OPERATOR_TEST_CLUSTER:-start} cargo_test "tests on a real Kubernetes" 55m --test cluster

read -r passed failed ignored < <(awk '
    /^test result: / { passed += $4; failed += $6; ignored += $8 }
    END { print passed + 0, failed + 0, ignored + 0 }' "$log")
for what in "${skipped_checks[@]}"; do
    echo "skipped: $what"
done
for what in "${failed_checks[@]}"; do
    echo "failed: $what"
done
failed=$((failed + ${#failed_checks[@]}))
echo "$passed passed, $failed failed, $ignored ignored"
[ "$failed" -eq 0 ]
