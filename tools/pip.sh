#!/bin/sh
# Prints the command that runs pip: the system's own, or that of an environment made for it in .deps/pip.
# Debian may ship Python without pip but with what `python3 -m venv` needs, or the other way round; either will do.
set -eu
if python3 -m pip --version >/dev/null 2>&1; then
    echo "python3 -m pip"
elif [ -x .deps/pip/bin/pip ]; then
    echo ".deps/pip/bin/python -m pip"
elif rm -rf .deps/pip && python3 -m venv .deps/pip >/dev/null 2>&1; then
    echo ".deps/pip/bin/python -m pip"
else
    rm -rf .deps/pip
    echo "pip is missing: install it (Debian: apt-get install python3-pip, or python3-venv)" >&2
    exit 1
fi
