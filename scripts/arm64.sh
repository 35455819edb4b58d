#!/usr/bin/env bash
# Builds the program for 64-bit ARM on this machine and runs it, emulated: that it starts, reads manifests as it should, and
# knows the same definitions.
#
#   scripts/arm64.sh            the program alone
#   scripts/arm64.sh image      also the Dockerfile's image around it, and what is in it: the program and FFmpeg. As root; ten minutes
#                               and more the first time, since Debian's packages are unpacked by an emulated dpkg. The program is
#                               cross-compiled here; in the Dockerfile's own build for arm64 (docker buildx build --platform
#                               linux/arm64) it is compiled by an emulated compiler, or by one on such a machine.
#
# Exit code 77: a tool is missing, which it names (scripts/install.sh arm64)
set -euo pipefail
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu
built=${CARGO_TARGET_DIR:-target}/$target/debug/camera-operator

for tool in aarch64-linux-gnu-gcc qemu-aarch64-static rustup; do
    command -v "$tool" >/dev/null || { echo "$tool is missing (scripts/install.sh arm64)" >&2; exit 77; }
done
rustup target add "$target" >/dev/null 2>&1 || { echo "rustup has no $target here" >&2; exit 77; }

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
# Line numbers would be most of what is written.
CARGO_PROFILE_DEV_DEBUG=0 cargo build --locked --target "$target" --bin camera-operator
program=(qemu-aarch64-static -L /usr/aarch64-linux-gnu "$built")

"${program[@]}" --version
"${program[@]}" check -f examples/quickstart.yaml
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
"${program[@]}" crds --dir "$made"
diff --recursive crds "$made"
echo "the program for arm64 runs"
[ "${1:-}" = image ] || exit 0

# The kernel starts the emulator for programs of that machine, also where there is none in their root folder (F).
register() {
    local known=/proc/sys/fs/binfmt_misc
    [ -e $known/register ] || mount -t binfmt_misc none $known || return 1
    [ ! -e $known/qemu-aarch64 ] || return 0
    printf '%s' ':qemu-aarch64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:F' >$known/register
}
if [ "$(id -u)" -ne 0 ] || ! register 2>/dev/null; then
    echo "no image for arm64 here: the kernel cannot be told of its emulator (it needs root and binfmt_misc)" >&2
    exit 77
fi
tag=docker.io/library/camera-operator:arm64
archive=$(STRIP=aarch64-linux-gnu-strip scripts/image.sh --architecture arm64 --tag "$tag" "$built")
# Run from its own files, as a container would have them.
mkdir "$made/image" "$made/root"
tar -C "$made/image" -xf "$archive"
config=$(sed 's/.*"Config":"\([^"]*\)".*/\1/' "$made/image/manifest.json")
grep -q '"architecture":"arm64"' "$made/image/$config"
for layer in $(sed 's/.*"Layers":\[\([^]]*\)\].*/\1/; s/[",]/ /g' "$made/image/manifest.json"); do
    tar -C "$made/root" -xf "$made/image/$layer"
done
in_image() { chroot --userspec=10001:10001 "$made/root" "$@"; }
in_image /usr/bin/tini -- /usr/local/bin/camera-operator --version
in_image ffmpeg -version | head -1
in_image ffmpeg -v error -f lavfi -i testsrc2=s=160x120:d=1 -c:v libx264 -preset ultrafast -f null -
echo "the image for arm64 runs: $archive"
