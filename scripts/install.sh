#!/usr/bin/env bash
# Installs what is missing for a purpose, and says exactly what to install where it cannot do so itself.
#
#   scripts/install.sh run     what `make run` needs: FFmpeg, a font for the clock in the test picture, a linker
#   scripts/install.sh page    Node.js for building the page in the browser
#   scripts/install.sh test    both, and the real peers that the tests use: an RTSP server, a browser, nginx with RTMP, Prometheus with
#                              Alertmanager
#   scripts/install.sh lint    cargo-deny, built once into .cache/tools
#   scripts/install.sh chart   what checks the chart: Helm, kubeconform and Kustomize, built once into .cache/tools; promtool, Lua
#   scripts/install.sh fuzz    cargo-fuzz, built once into .cache/tools
#   scripts/install.sh cluster what a node of the test cluster needs: containerd, runc, CNI plugins, iptables
#   scripts/install.sh image   what scripts/image.sh needs: buildah, mmdebstrap
#   scripts/install.sh arm64   what scripts/arm64.sh needs: a compiler for 64-bit ARM and QEMU's emulator, for programs and for an image
#
# It acts by itself on Debian and Ubuntu as root. Nothing is touched when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

purpose=${1:-run}
tools=$PWD/.cache/tools
export PATH="$tools/bin:$PATH"

node_major=22 # what is fetched where the distribution's Node.js is too old for the page's build
deny_version=0.20.2
helm_version=v3.22.0
kubeconform_version=v0.8.0
kustomize_version=v5.8.1
# Whose custom resource definitions the chart and the examples use.
prometheus_operator_version=v0.85.0
argocd_version=v3.1.0
fuzz_version=0.13.2

say() { printf '%s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }
is_debian() { [ -r /etc/debian_version ] && have apt-get && have dpkg-query; }
is_root() { [ "$(id -u)" -eq 0 ]; }

# The packages of "$@" that are not installed, one a line.
missing_packages() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || printf '%s\n' "$package"
    done
}

# Installs the Debian packages "$@", as far as they are missing.
install_packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    [ "${#missing[@]}" -gt 0 ] || return 0
    if ! is_root; then
        say "These packages are missing; install them and try again:"
        say ""
        say "    sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}"
        say ""
        return 1
    fi
    say "Installing ${missing[*]}"
    local apt=(apt-get -qq -o Dpkg::Use-Pty=0 -o Acquire::Retries=3)
    export DEBIAN_FRONTEND=noninteractive
    # The package lists are only fetched when those at hand do not lead to the packages.
    if ! "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1 </dev/null; then
        "${apt[@]}" update >&2 </dev/null
        "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >&2 </dev/null
    fi
}

# Checks for commands where packages cannot be asked for: "command=what to install" for each.
require_commands() {
    local entry missing=()
    for entry in "$@"; do
        have "${entry%%=*}" || missing+=("  - ${entry%%=*}: ${entry#*=}")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    say "This is not Debian or Ubuntu, so nothing is installed by itself. Missing:"
    printf '%s\n' "${missing[@]}" >&2
    return 1
}

require_rust() {
    have cargo && return 0
    say "Rust is missing. Install it with rustup (https://rustup.rs), which picks the right version by itself:"
    say ""
    say "    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
    say ""
    return 1
}

# The versions that Vite supports: 20.19 or later of 20, 22.12 or later.
node_is_new_enough() {
    have node && have npm && node -e '
        const [major, minor] = process.versions.node.split(".").map(Number);
        process.exit((major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22 ? 0 : 1);
    ' 2>/dev/null
}

install_node() {
    node_is_new_enough && return 0
    if ! have npm; then
        is_debian || { require_commands node="Node.js 22 or later, https://nodejs.org" npm="comes with Node.js"; return 1; }
        install_packages nodejs npm
        node_is_new_enough && return 0
    fi
    local architecture
    case "$(uname -s)-$(uname -m)" in
        Linux-x86_64) architecture=linux-x64 ;;
        Linux-aarch64) architecture=linux-arm64 ;;
        *)
            say "Node.js is too old ($(node --version)). Install 20.19, 22.12 or later: https://nodejs.org"
            return 1
            ;;
    esac
    say "Node.js $(node --version 2>/dev/null || true) is too old for the page's build; putting $node_major into .cache/tools"
    mkdir -p "$tools/bin" "$tools/node"
    npm install --prefix "$tools/node" --no-audit --no-fund --loglevel=error \
        "node-$architecture@$node_major" "npm@10" >&2 </dev/null
    ln -sf "../node/node_modules/node-$architecture/bin/node" "$tools/bin/node"
    ln -sf "../node/node_modules/npm/bin/npm-cli.js" "$tools/bin/npm"
    hash -r
    node_is_new_enough
}

install_run() {
    require_rust
    if is_debian; then
        local packages=()
        have ffmpeg || packages+=(ffmpeg)
        have cc || packages+=(build-essential)
        [ -n "$(missing_packages fonts-dejavu-core)" ] && packages+=(fonts-dejavu-core)
        [ "${#packages[@]}" -eq 0 ] || install_packages "${packages[@]}"
    else
        require_commands ffmpeg="FFmpeg 5.1 or later (macOS: brew install ffmpeg)" cc="a C compiler and linker"
    fi
}

install_test() {
    install_run
    install_node
    if ! is_debian; then
        require_commands chromium="a Chromium (or set CHROMIUM to its path)" nginx="nginx with its RTMP module" \
            gst-inspect-1.0="GStreamer with its RTSP server library and Python bindings"
        return
    fi
    local nginx_was_there=yes
    [ -z "$(missing_packages nginx)" ] || nginx_was_there=no
    # Camera: GStreamer's RTSP server. RTMP: nginx. Mail: aiosmtpd. Full disk: mkfs.ext4 and mount. Processes: ps. Clocks that jump: faketime.
    install_packages ca-certificates faketime fonts-dejavu-core procps e2fsprogs mount \
        python3 python3-gi gir1.2-gst-rtsp-server-1.0 gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-base \
        gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-x gstreamer1.0-libav \
        nginx libnginx-mod-rtmp python3-aiosmtpd
    # What alerts on the metrics, not as services: the tests start their own.
    if [ -n "$(missing_packages prometheus prometheus-alertmanager)" ]; then
        install_without_services prometheus prometheus-alertmanager
        [ ! -d /run/systemd/system ] || systemctl disable --quiet prometheus prometheus-alertmanager || true
    fi
    # The tests start an nginx of their own; the package's service would hold port 80 for nothing.
    if [ "$nginx_was_there" = no ] && [ -d /run/systemd/system ]; then
        systemctl disable --now --quiet nginx || true
    fi
    if ! have "${CHROMIUM:-chromium}"; then
        install_packages chromium
    fi
    install_chart
}

# Licences, banned crates and sources. A few minutes once; `make lint` does without it where it is missing.
install_lint() {
    require_rust
    # It looks at the crates of all systems, those that are not built here, too, and has no network.
    cargo fetch --quiet --locked </dev/null
    have cargo-deny && return 0
    say "Building cargo-deny $deny_version into .cache/tools (some minutes, once)"
    # Not optimised: it runs for seconds and would be compiled for minutes.
    cargo install --quiet --locked --debug --root "$tools" "cargo-deny@$deny_version" </dev/null
}

# A Go program, built from source into .cache/tools.
install_go_program() { # <command> <package@version>
    have "$1" && return 0
    say "Building $1 ${2##*@} into .cache/tools (a minute or two, once)"
    CGO_ENABLED=0 GOBIN="$tools/bin" GOFLAGS=-trimpath go install -ldflags "-s -w" "$2" </dev/null ||
        say "$1 cannot be built, so what needs it is not checked."
}

# Copies definitions that a Go module holds: <module@version> <files within it>…
install_definitions() {
    local module=$1 folder file
    shift
    for file in "$@"; do
        [ -e "$tools/share/definitions/$(basename "$file")" ] || folder=missing
    done
    [ -n "${folder:-}" ] || return 0
    folder=$(go mod download -json "$module" </dev/null | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')
    [ -d "$folder" ] || { say "$module cannot be had, so manifests of its kinds are not checked."; return 0; }
    mkdir -p "$tools/share/definitions"
    for file in "$@"; do
        install -m 644 "$folder/$file" "$tools/share/definitions/"
    done
}

# What checks the chart. What cannot be had is said here, and its checks are skipped by name.
install_chart() {
    if have go; then
        mkdir -p "$tools/bin"
        install_go_program helm "helm.sh/helm/v3/cmd/helm@$helm_version"
        install_go_program kubeconform "github.com/yannh/kubeconform/cmd/kubeconform@$kubeconform_version"
        install_go_program kustomize "sigs.k8s.io/kustomize/kustomize/v5@$kustomize_version"
        local monitoring=example/prometheus-operator-crd/monitoring.coreos.com_
        install_definitions "github.com/prometheus-operator/prometheus-operator@$prometheus_operator_version" \
            "${monitoring}prometheusrules.yaml" "${monitoring}servicemonitors.yaml" "${monitoring}podmonitors.yaml" \
            "${monitoring}alertmanagerconfigs.yaml"
        install_definitions "github.com/argoproj/argo-cd/v3@$argocd_version" manifests/crds/application-crd.yaml
    else
        say "Go is missing (https://go.dev/dl), so Helm, kubeconform and Kustomize are not built, and what needs them is not checked."
    fi
    is_debian || { say "Install promtool (of Prometheus) and Lua 5.1, or the alerts and health checks are not checked."; return 0; }
    if ! have promtool; then
        # Only this program out of the package: the package itself would start a server.
        local folder
        folder=$(mktemp -d)
        if (cd "$folder" && { apt-get -qq download prometheus || { is_root && apt-get -qq update && apt-get -qq download prometheus; }; }) >/dev/null 2>&1 </dev/null; then
            mkdir -p "$tools/bin"
            dpkg-deb --fsys-tarfile "$folder"/prometheus_*.deb | tar -x -O ./usr/bin/promtool >"$tools/bin/promtool"
            chmod 755 "$tools/bin/promtool"
        else
            say "Debian's package prometheus cannot be had, so the alerts are not checked."
        fi
        rm -rf "$folder"
    fi
    have lua5.1 || install_packages lua5.1
}

install_fuzz() {
    require_rust
    have cargo-fuzz && return 0
    say "Building cargo-fuzz $fuzz_version into .cache/tools (a minute or two, once)"
    cargo install --quiet --locked --root "$tools" "cargo-fuzz@$fuzz_version" </dev/null
}

# Installs packages whose services must not be started: the tests start their own.
install_without_services() {
    local policy=/usr/sbin/policy-rc.d code=0
    if is_root && [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        install_packages "$@" || code=$?
        rm -f "$policy"
        return "$code"
    fi
    install_packages "$@"
}

install_cluster() {
    local packages=(iproute2 iptables util-linux procps mount)
    if ! is_debian; then
        require_commands containerd="containerd" runc="runc" iptables="iptables" ip="iproute2" unshare="util-linux"
        return
    fi
    # Where another package brings one of these (Docker's containerd.io, say), it will do.
    have containerd || packages+=(containerd)
    have runc || packages+=(runc)
    [ -e /opt/cni/bin/ptp ] || packages+=(containernetworking-plugins)
    install_without_services "${packages[@]}"
}

install_image() {
    if ! is_debian; then
        require_commands buildah="buildah" mmdebstrap="mmdebstrap"
        return
    fi
    install_without_services buildah mmdebstrap
}

install_arm64() {
    if ! is_debian; then
        require_commands aarch64-linux-gnu-gcc="a C compiler for aarch64" qemu-aarch64-static="qemu-user-static"
        return
    fi
    install_packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static arch-test
}

case "$purpose" in
    run) install_run ;;
    page) install_node ;;
    test) install_test ;;
    lint) install_lint ;;
    chart) install_chart ;;
    fuzz) install_fuzz ;;
    cluster) install_cluster ;;
    image) install_image ;;
    arm64) install_arm64 ;;
    *)
        say "usage: scripts/install.sh run | page | test | lint | chart | fuzz | cluster | image | arm64"
        exit 2
        ;;
esac
