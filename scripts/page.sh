#!/usr/bin/env bash
# Builds the page in the browser (web/dist), as far as its sources changed.
#
#   scripts/page.sh              builds; without Node.js it says so and succeeds: the program then says that the page is missing
#   scripts/page.sh --require    builds, or fails
#   scripts/page.sh --test       builds, checks types and runs the page's unit tests
set -euo pipefail
cd "$(dirname "$0")/../web"
export PATH="$PWD/../.cache/tools/bin:$PATH"
mode=${1:-}

if ! command -v npm >/dev/null 2>&1; then
    if [ -n "$mode" ]; then
        echo "npm is missing: run scripts/install.sh page" >&2
        exit 1
    fi
    echo "npm is missing, so the page at / is not built (scripts/install.sh page installs it); all else works." >&2
    exit 0
fi

# node_modules is as the lock file says when its stamp is that lock file.
if ! cmp -s package-lock.json node_modules/.installed-lock; then
    npm ci --no-audit --no-fund --loglevel=error </dev/null
    cp package-lock.json node_modules/.installed-lock
fi
if [ "$mode" = --test ]; then
    npm run --silent check
    npm test --silent -- --reporter=default
fi
# vite empties dist first; an unchanged page is left alone, so that cargo does not embed it again.
if [ ! -f dist/index.html ] || [ -n "$(find index.html src public package-lock.json vite.config.ts -newer dist/index.html -print -quit 2>/dev/null)" ]; then
    npm run --silent build -- --logLevel warn
fi
