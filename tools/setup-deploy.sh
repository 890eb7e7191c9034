#!/bin/sh
# Sees to it that the programs are there which judge deploy/: nginx, promtool (Debian's prometheus), docker-compose, and a Python with
# kubernetes-validate in .deps/deploy. None of their services is started.
set -eu
cd "$(dirname "$0")/.."
have() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }
packages=$(
    have nginx || echo nginx-light
    have promtool || echo prometheus
    have docker-compose || echo docker-compose
    have rclone || echo rclone
)
# shellcheck disable=SC2086 # words
[ -z "$packages" ] || tools/apt.sh "make check-deploy needs" $packages
pinned=kubernetes-validate==1.37.0
if [ ! -e ".deps/deploy/$pinned" ]; then
    rm -rf .deps/deploy
    pip=$(tools/pip.sh)
    echo "installing $pinned into .deps/deploy"
    PIP_ROOT_USER_ACTION=ignore $pip install --quiet --disable-pip-version-check --only-binary :all: --target .deps/deploy "$pinned"
    touch ".deps/deploy/$pinned"
fi
