#!/usr/bin/env bash
# Builds the program for 64-bit ARM on this machine and runs it, emulated: that it starts, reads manifests as it should, and
# knows the same definitions. The image's own build for arm64 is the Dockerfile's (docker buildx build --platform linux/arm64).
#
#   scripts/arm64.sh     exit code 77: a tool is missing, which it names (scripts/install.sh arm64)
set -euo pipefail
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu

for tool in aarch64-linux-gnu-gcc qemu-aarch64-static rustup; do
    command -v "$tool" >/dev/null || { echo "$tool is missing (scripts/install.sh arm64)" >&2; exit 77; }
done
rustup target add "$target" >/dev/null 2>&1 || { echo "rustup has no $target here" >&2; exit 77; }

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
# Line numbers would be most of what is written.
CARGO_PROFILE_DEV_DEBUG=0 cargo build --locked --target "$target" --bin camera-operator
program=(qemu-aarch64-static -L /usr/aarch64-linux-gnu "target/$target/debug/camera-operator")

"${program[@]}" --version
"${program[@]}" check -f examples/quickstart.yaml
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
"${program[@]}" crds --dir "$made"
diff --recursive crds "$made"
echo "the program for arm64 runs"
