#!/bin/sh
# Sees to it that the tests find the programs of PostgreSQL, MariaDB and Redis: installs Debian's packages where they are missing.
# The tests start servers of their own in temporary folders, so the packages' services are neither needed nor started.
set -eu

# Is there a PROGRAM, on PATH or in one of the folders where Debian puts servers?
have() {
    command -v "$1" >/dev/null 2>&1 && return
    for folder in /usr/sbin /usr/bin /usr/lib/postgresql/*/bin; do
        [ -x "$folder/$1" ] && return
    done
    return 1
}

# The packages whose programs are missing.
missing() {
    { have postgres && have initdb; } || echo postgresql
    { have mariadbd && have mariadb-install-db; } || echo mariadb-server
    have redis-server || echo redis-server
}

packages=$(missing | paste -sd' ' -)
[ -n "$packages" ] || exit 0
cannot() {
    echo "$packages: missing, and not installed ($1); the tests of the databases need it (Debian: apt-get install $packages)" >&2
    exit 1
}

command -v apt-get >/dev/null 2>&1 || cannot "there is no apt-get"
as_root=
if [ "$(id -u)" != 0 ]; then
    { command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; } || cannot "that takes root"
    as_root="sudo -n"
fi
echo "installing Debian's $packages"
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
# shellcheck disable=SC2086 # words, not one name
install() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends $packages >"$log" 2>&1
}
# The lists may be missing or too old to name packages that are still there.
install || { $as_root apt-get update --quiet >"$log" 2>&1 && install; } || {
    tail -n 20 "$log" >&2
    cannot "apt-get failed"
}
packages=$(missing | paste -sd' ' -)
[ -z "$packages" ] || cannot "apt-get installed it, but its programs are not where they should be"
