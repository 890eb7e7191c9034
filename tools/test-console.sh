#!/bin/sh
# Tests the built console: its units, then every page in a real browser against target/debug/nexusroute and the simulators beside
# it, which must have been built since. A browser that hangs holds nothing up for more than ten minutes, many times what it takes.
set -eu
cd "$(dirname "$0")/.."
tools/setup-browser.sh
cd web
npm run --silent test
timeout 600 npm run --silent e2e
