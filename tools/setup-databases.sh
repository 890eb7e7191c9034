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
# shellcheck disable=SC2086 # words, not one name
"$(dirname "$0")/apt.sh" "the tests of the databases need" $packages
packages=$(missing | paste -sd' ' -)
[ -z "$packages" ] || {
    echo "$packages: installed, but its programs are not where they should be" >&2
    exit 1
}
