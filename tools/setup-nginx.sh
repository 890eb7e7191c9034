#!/bin/sh
# Sees to it that the relay's bench finds an nginx, its yardstick: installs Debian's package where it is missing. The bench
# starts one of its own in a temporary folder, so the package's service is neither needed nor started.
set -eu
if command -v nginx >/dev/null 2>&1 || [ -x /usr/sbin/nginx ]; then exit 0; fi
"$(dirname "$0")/apt.sh" "make bench-relay needs" nginx-light
