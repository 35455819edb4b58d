#!/usr/bin/env bash
# Builds the test cluster's programs, once for each state of their sources, and prints the folder that holds them: kube (all
# of Kubernetes and etcd; kubectl and its other parts are links to it), dns, and the pause image. Needs Go; the first build
# takes minutes, since it compiles Kubernetes.
set -euo pipefail
cd "$(dirname "$0")"

cache=${CAMERA_OPERATOR_CACHE:-$PWD/../../.cache}/cluster
kubernetes=$(sed -n 's|^\tk8s.io/kubernetes v||p' kube/go.mod)
sources=$(cat build.sh kube/go.mod kube/go.sum kube/*.go kube/pause/*.go dns/go.mod dns/go.sum dns/*.go | sha256sum | cut -c1-12)
folder=$cache/bin-$sources

say() { printf '%s\n' "$*" >&2; }

# A Docker archive of one layer with one program, made by hand: it needs no tool but tar.
pause_image() { # <program> <archive>
    local work layer config
    work=$(mktemp -d)
    tar -C "$(dirname "$1")" --owner=0 --group=0 --mtime=@0 -cf "$work/layer.tar" "$(basename "$1")"
    layer=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
    printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["/pause"],"User":"65535:65535"},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$(go env GOARCH)" "$layer" >"$work/config.json"
    config=$(sha256sum "$work/config.json" | cut -d' ' -f1).json
    mv "$work/config.json" "$work/$config"
    printf '[{"Config":"%s","RepoTags":["camera-operator.test/pause:1"],"Layers":["layer.tar"]}]' "$config" >"$work/manifest.json"
    tar -C "$work" -cf "$2" manifest.json "$config" layer.tar
    rm -r "$work"
}

build() { # <module> <package> <output> [linker flags]
    local started=$SECONDS
    say "building $3 …"
    (cd "$1" && CGO_ENABLED=0 GOFLAGS=-mod=readonly nice -n 10 go build -trimpath -ldflags "-s -w ${4:-}" -o "$new/$3" "$2")
    say "built $3 in $((SECONDS - started)) s"
}

mkdir -p "$cache"
exec 9>"$cache/build.lock"
flock 9
if [ ! -d "$folder" ]; then
    if ! command -v go >/dev/null 2>&1; then
        say "the test cluster needs Go 1.25 or later to be built (https://go.dev/dl)"
        exit 77
    fi
    say "Building the test cluster's programs (Kubernetes $kubernetes; minutes, once)"
    new=$(mktemp -d "$cache/new.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    version=k8s.io/component-base/version
    build kube . kube "-X $version.gitVersion=v$kubernetes -X $version.gitMajor=${kubernetes%%.*} -X $version.gitMinor=$(cut -d. -f2 <<<"$kubernetes")"
    build kube ./pause pause
    build dns . dns
    for part in kubectl etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy network-policies; do
        ln -s kube "$new/$part"
    done
    pause_image "$new/pause" "$new/pause.tar"
    chmod 755 "$new"
    mv "$new" "$folder"
    trap - EXIT
    # Older states are of no more use.
    find "$cache" -mindepth 1 -maxdepth 1 -name 'bin-*' ! -name "bin-$sources" -mtime +1 -exec rm -rf {} +
fi
echo "$folder"
