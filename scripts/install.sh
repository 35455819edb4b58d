#!/usr/bin/env bash
# Installs what is missing for a purpose, and says exactly what to install where it cannot do so itself.
#
#   scripts/install.sh run     what `make run` needs: FFmpeg, a font for the clock in the test picture, a linker
#   scripts/install.sh page    Node.js for building the page in the browser
#   scripts/install.sh test    both, and the real peers that the tests use: an RTSP server, a browser, nginx with RTMP
#   scripts/install.sh lint    cargo-deny, built once into .cache/tools
#
# It acts by itself on Debian and Ubuntu as root. Nothing is touched when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

purpose=${1:-run}
tools=$PWD/.cache/tools
export PATH="$tools/bin:$PATH"

node_major=22 # what is fetched where the distribution's Node.js is too old for the page's build
deny_version=0.20.2

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
    # Camera: GStreamer's RTSP server. RTMP: nginx. Full disk: mkfs.ext4 and mount. Processes: ps. Clocks that jump: faketime.
    install_packages ca-certificates faketime fonts-dejavu-core procps e2fsprogs mount \
        python3 python3-gi gir1.2-gst-rtsp-server-1.0 gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-base \
        gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-x gstreamer1.0-libav \
        nginx libnginx-mod-rtmp
    # The tests start an nginx of their own; the package's service would hold port 80 for nothing.
    if [ "$nginx_was_there" = no ] && [ -d /run/systemd/system ]; then
        systemctl disable --now --quiet nginx || true
    fi
    if ! have "${CHROMIUM:-chromium}"; then
        install_packages chromium
    fi
}

# Licences, banned crates and sources. A few minutes once; `make lint` does without it where it is missing.
install_lint() {
    require_rust
    have cargo-deny && return 0
    say "Building cargo-deny $deny_version into .cache/tools (some minutes, once)"
    cargo install --quiet --locked --root "$tools" "cargo-deny@$deny_version" </dev/null
}

case "$purpose" in
    run) install_run ;;
    page) install_node ;;
    test) install_test ;;
    lint) install_lint ;;
    *)
        say "usage: scripts/install.sh run | page | test | lint"
        exit 2
        ;;
esac
