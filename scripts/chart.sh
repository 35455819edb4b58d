#!/usr/bin/env bash
# Checks what is for a cluster and needs none: the chart, its alerts and dashboards, and the GitOps examples.
#
#   scripts/chart.sh lint | renders | refused | definitions | schemas | alerts | dashboards | health | kustomize
#   scripts/chart.sh all          every one of them
#   scripts/chart.sh write        renders tests/chart/golden anew
#
# A check ends with 0 when all is well, and with 77 when a tool is missing, which it names.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.cache/tools/bin:$PATH"

chart=charts/camera-operator
golden=tests/chart/golden
kubernetes=1.34.0 # what the golden files are rendered for
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

need() { # <command> <where it comes from>
    command -v "$1" >/dev/null 2>&1 && return 0
    echo "   $1 is missing ($2)"
    exit 77
}
need_helm() { need helm "scripts/install.sh chart builds it, with Go"; }

render() { # [<further arguments of helm template>…]
    helm template camera-operator "$chart" --namespace camera-system --kube-version "$kubernetes" "$@"
}

# The variants of the golden files: the values as they are, and those of each file in tests/chart/values.
variants() {
    echo default
    basename --suffix=.yaml tests/chart/values/*.yaml
}
render_variant() {
    local values=()
    [ "$1" = default ] || values=(--values "tests/chart/values/$1.yaml")
    render ${values[@]+"${values[@]}"}
}

# What is long and checked elsewhere is left out of the golden files: the schemas of the definitions, and dashboards.
shorten() {
    awk '
        /^---$/ { skip = 0; definition = 0 }
        /^# Source: .*\/(crds|dashboards)\.yaml$/ { definition = 1 }
        !skip { print }
        definition && /^(spec|data):$/ { print "  # left out here"; skip = 1 }'
}

lint() {
    need_helm
    helm lint --strict --quiet "$chart"
    local variant
    for variant in tests/chart/values/*.yaml; do
        helm lint --strict --quiet --values "$variant" "$chart"
    done
    local version
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
    if [ "$(grep -c -e "^version: $version$" -e "^appVersion: $version$" "$chart/Chart.yaml")" -ne 2 ]; then
        echo "   version and appVersion in $chart/Chart.yaml must be that of Cargo.toml: $version"
        return 1
    fi
}

renders() {
    need_helm
    local variant status=0
    for variant in $(variants); do
        render_variant "$variant" | shorten >"$work/$variant.yaml"
        diff -u "$golden/$variant.yaml" "$work/$variant.yaml" || status=1
    done
    [ "$status" -eq 0 ] || echo "   if that is what you wanted: scripts/chart.sh write"
    return "$status"
}

write() {
    need_helm
    local variant
    mkdir -p "$golden"
    for variant in $(variants); do
        render_variant "$variant" | shorten >"$golden/$variant.yaml"
    done
}

# Values that must be refused, with the message that the file's first line says.
refused() {
    need_helm
    local file message status=0
    for file in tests/chart/refused/*.yaml; do
        message=$(sed -n '1s/^# message: //p' "$file")
        if render --values "$file" >/dev/null 2>"$work/refusal"; then
            echo "   $file is taken"
            status=1
        elif [ -z "$message" ] || ! grep -qF -- "$message" "$work/refusal"; then
            echo "   $file: wanted \"$message\", got:"
            sed 's/^/      /' "$work/refusal"
            status=1
        fi
    done
    return "$status"
}

# The chart's definitions are those of crds/, with annotations and labels put in and not a byte besides.
definitions() {
    need_helm
    render --show-only templates/crds.yaml >"$work/rendered"
    if [ "$(grep -c '^    helm.sh/resource-policy: keep$' "$work/rendered")" -ne "$(find crds -name '*.yaml' | wc -l)" ]; then
        echo "   not every definition is kept at uninstall"
        return 1
    fi
    awk '
        /^(---|# Source: .*|)$/ { next }
        /^metadata:$/ { print; inside = 1; next }
        inside && /^  name: / { inside = 0 }
        !inside { print }' "$work/rendered" >"$work/bare"
    find crds -name '*.yaml' | sort | xargs cat | diff -u - "$work/bare"
}

schemas() {
    need_helm
    need kubeconform "scripts/install.sh chart builds it, with Go"
    local definitions=.cache/tools/share/definitions
    if [ ! -e "$definitions/application-crd.yaml" ] || [ ! -e "$definitions/monitoring.coreos.com_alertmanagerconfigs.yaml" ]; then
        echo "   the definitions of Prometheus' and Argo CD's kinds are missing (scripts/install.sh chart fetches them, with Go)"
        exit 77
    fi
    cargo run --quiet --locked --example kubernetes-schemas -- --dir "$work/schemas" crds/*.yaml "$definitions"/*.yaml
    local variant
    for variant in $(variants); do
        render_variant "$variant" >"$work/$variant.yaml"
    done
    kubeconform -strict -summary -schema-location "$work/schemas/{{ .ResourceKind }}{{ .KindSuffix }}.json" \
        "$work"/*.yaml examples/*.yaml examples/argocd/*.yaml examples/prometheus/*.yaml
}

alerts() {
    need_helm
    need promtool "scripts/install.sh chart takes it from Debian's package prometheus"
    render --show-only templates/prometheusrule.yaml --values tests/chart/rules.yaml |
        sed -n '/^spec:$/,$p' | sed -e 1d -e 's/^  //' >"$work/alerts.yaml"
    cp tests/chart/alerts_test.yaml "$work/"
    promtool check rules "$chart/files/alerts.yaml" >"$work/log" || { cat "$work/log"; return 1; }
    promtool check rules "$work/alerts.yaml" >"$work/log" || { cat "$work/log"; return 1; }
    (cd "$work" && promtool test rules alerts_test.yaml) >"$work/log" 2>&1 || { cat "$work/log"; return 1; }
    # Each alert has a runbook and a test, and each runbook an alert.
    local status=0 alert
    for alert in $(sed -n 's/^ *- alert: //p' "$chart/files/alerts.yaml" | sort -u); do
        [ -e "docs/runbooks/$alert.md" ] || { echo "   $alert has no runbook: docs/runbooks/$alert.md"; status=1; }
        grep -q "alertname: $alert$" tests/chart/alerts_test.yaml || { echo "   $alert has no test"; status=1; }
        grep -q "\[$alert\]($alert.md)" docs/runbooks/README.md || { echo "   $alert is not in docs/runbooks/README.md"; status=1; }
    done
    local runbook
    for runbook in docs/runbooks/[A-Z]*.md; do
        alert=$(basename "$runbook" .md)
        [ "$alert" = README ] || grep -q "alert: $alert$" "$chart/files/alerts.yaml" || { echo "   $runbook is of no alert"; status=1; }
    done
    return "$status"
}

dashboards() {
    need promtool "scripts/install.sh chart takes it from Debian's package prometheus"
    need python3 "apt-get install python3"
    python3 tests/chart/dashboards.py "$chart" "$work/expressions.yaml"
    promtool check rules "$work/expressions.yaml" >"$work/log" || { cat "$work/log"; return 1; }
}

health() {
    local lua
    lua=$(command -v lua5.1 || command -v lua || true)
    [ -n "$lua" ] || need lua5.1 "apt-get install lua5.1"
    "$lua" tests/chart/health_test.lua examples/argocd/health/health.lua
}

kustomize_build() {
    if command -v kustomize >/dev/null 2>&1; then
        kustomize build "$1"
    else
        need kubectl "scripts/install.sh chart builds kustomize, with Go"
        kubectl kustomize "$1"
    fi
}

kustomize_check() {
    cargo build --quiet --locked --tests
    local overlay name status=0
    for overlay in examples/kustomize/overlays/*/; do
        name=$(basename "$overlay")
        kustomize_build "$overlay" >"$work/$name.yaml"
        target/debug/camera-operator check -f "$work/$name.yaml" -f examples/kustomize/placeholders.yaml >"$work/log" 2>&1 || { cat "$work/log"; status=1; }
        diff -u "tests/chart/kustomize/$name.yaml" "$work/$name.yaml" || status=1
    done
    kustomize_build examples/argocd/health >"$work/health.yaml"
    local kind
    for kind in Camera Stream Archive Recording AlertRoute; do
        grep -q "^  resource.customizations.health.camera-operator.dev_$kind: |" "$work/health.yaml" ||
            { echo "   Argo CD is told nothing of the health of a $kind"; status=1; }
    done
    return "$status"
}

case "${1:-}" in
    lint | renders | refused | definitions | schemas | alerts | dashboards | health | write) "$1" ;;
    kustomize) kustomize_check ;;
    all)
        for what in lint renders refused definitions schemas alerts dashboards health kustomize; do
            echo "== $what"
            "$0" "$what"
        done
        ;;
    *)
        sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
esac
