#!/bin/sh
# Names, in one line each, the programs that are not there and cannot be installed from here.
# Usage: tools/need.sh PROGRAM...
set -eu
missing=0
for program in "$@"; do
    command -v "$program" >/dev/null 2>&1 && continue
    missing=1
    case $program in
        cargo) echo "cargo is missing: install Rust 1.95 or later (rustup does it)" >&2 ;;
        cc) echo "cc is missing: install a C compiler (Debian: apt-get install build-essential)" >&2 ;;
        python3) echo "python3 is missing: install Python 3.9 or later (Debian: apt-get install python3 python3-venv)" >&2 ;;
        node | npm) echo "$program is missing: install Node.js 20 or later with npm (Debian: apt-get install nodejs npm)" >&2 ;;
        curl) echo "curl is missing: install it (Debian: apt-get install curl)" >&2 ;;
        *) echo "$program is missing: install it first" >&2 ;;
    esac
done
exit $missing
