#!/bin/sh
# Sees to it that the console's tests find a chromium, and glyphs for Chinese: Debian's packages where they are missing.
set -eu
here=$(dirname "$0")
missing=
command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 || [ -n "${CHROMIUM:-}" ] || missing="chromium"
fc-list ':lang=zh-cn' 2>/dev/null | grep -q . || missing="$missing fonts-noto-cjk"
[ -z "$missing" ] || "$here/apt.sh" "the console's tests need" $missing
