#!/bin/sh
# Builds the web console into web/dist, which the next build of the binary takes in. Nothing is done where what is there was
# built from the same sources, so that cargo does not build the binary anew either.
set -eu
cd "$(dirname "$0")/.."
tools/need.sh node npm
node -e 'const [major, minor] = process.versions.node.split(".").map(Number); process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)' || {
    echo "node is too old for the console: Node.js 20.19 or later is needed" >&2
    exit 1
}

lock=web/package-lock.json
if ! cmp -s "$lock" web/node_modules/.installed; then
    echo "installing the console's npm packages into web/node_modules"
    # No package needs its install script to work.
    (cd web && npm ci --loglevel error --ignore-scripts --no-audit --no-fund)
    cp "$lock" web/node_modules/.installed
fi

sources=$(
    {
        find web/src web/public web/tools -type f ! -name '*.test.*' ! -name schema.d.ts
        echo web/index.html
        echo web/package-lock.json
        echo web/tsconfig.json
        echo web/vite.config.ts
        echo docs/openapi.json
    } | LC_ALL=C sort | while read -r file; do
        echo "$file"
        cat "$file"
    done | cksum
)
stamp=web/dist/.built-from
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$sources" ]; then exit 0; fi
echo "building the console"
(cd web && npm run --silent build -- --logLevel warn)
echo "$sources" >"$stamp"
