#!/bin/sh
# Collects what the image needs of Debian's packages into a folder: a program with the shared libraries it is linked to, and
# other packages whole, without their documentation. Half of what FFmpeg's packages bring along is never loaded.
# What was taken stands in var/lib/dpkg/status.d, where scanners for vulnerabilities look. Runs in the Dockerfile.
#
#   collect.sh <folder> <packages that were there before> <program> <package…>
set -eu
folder=$1
before=$2
program=$3
shift 3

mkdir -p "$folder/var/lib/dpkg/status.d"

# The package that a file is of, whichever of its names (before or after /usr was merged) dpkg knows.
package_of() {
    dpkg -S "$1" 2>/dev/null | head -n 1 | cut -d: -f1 | grep . ||
        dpkg -S "${1#/usr}" 2>/dev/null | head -n 1 | cut -d: -f1
}

note() { # <package>
    dpkg-query -s "$1" >"$folder/var/lib/dpkg/status.d/$1"
    if [ -e "/usr/share/doc/$1/copyright" ]; then
        mkdir -p "$folder/usr/share/doc/$1"
        cp -L "/usr/share/doc/$1/copyright" "$folder/usr/share/doc/$1/copyright"
    fi
}

is_new() { # <package>: not there before in this version
    ! grep -qx "$1 $(dpkg-query -W -f '${Version}' "$1")" "$before"
}

take_file() { # <file as it is to be found>
    real=$(readlink -f "$1")
    package=$(package_of "$real")
    is_new "$package" || return 0
    place=$folder$(readlink -f "$(dirname "$1")")
    mkdir -p "$place"
    cp -L "$1" "$place/$(basename "$1")"
    note "$package"
}

take_file "$(command -v "$program")"
ldd "$(command -v "$program")" | awk '$3 ~ /^\// { print $3 }' | while read -r library; do
    take_file "$library"
done

for package in "$@"; do
    dpkg -L "$package" | grep -v -E '^/usr/share/(doc|man|lintian|bug|locale|info)/' | while read -r path; do
        if [ -L "$path" ] || [ -f "$path" ]; then
            place=$folder$(readlink -f "$(dirname "$path")")
            mkdir -p "$place"
            cp -P "$path" "$place/"
        fi
    done
    note "$package"
done
