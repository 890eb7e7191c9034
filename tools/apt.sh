#!/bin/sh
# Installs Debian packages for tests and benches, and starts none of their services.
# Usage: tools/apt.sh WHAT-NEEDS-THEM PACKAGE...
set -eu
purpose=$1
shift
cannot() {
    echo "$*: missing, and not installed ($reason); $purpose it (Debian: apt-get install $*)" >&2
    exit 1
}

reason="there is no apt-get"
command -v apt-get >/dev/null 2>&1 || cannot "$@"
as_root=
if [ "$(id -u)" != 0 ]; then
    reason="that takes root"
    { command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; } || cannot "$@"
    as_root="sudo -n"
fi
echo "installing Debian's $*"
log=$(mktemp)
policy=/usr/sbin/policy-rc.d
ours=
clean_up() {
    rm -f "$log"
    [ -z "$ours" ] || $as_root rm -f "$policy"
}
trap clean_up EXIT
# A policy of 101 forbids packages to start their services. One that is there already is the machine's own.
if [ ! -e "$policy" ]; then
    ours=yes
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
fi
install() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends "$@" >"$log" 2>&1
}
reason="apt-get failed"
# The lists may be missing or too old to name packages that are still there.
install "$@" || { $as_root apt-get update --quiet >"$log" 2>&1 && install "$@"; } || {
    tail -n 20 "$log" >&2
    cannot "$@"
}
