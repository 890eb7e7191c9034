#!/bin/sh
# Installs what the system tests run and did not write (tests/clients/requirements.txt) and leaves .deps/bin/python, a
# python that has it. An environment of its own where Python can make one, else a plain folder of packages.
set -eu
cd "$(dirname "$0")/.."

requirements=tests/clients/requirements.txt
stamp=.deps/test-clients.installed
if [ -x .deps/bin/python ] && cmp -s "$requirements" "$stamp" && .deps/bin/python -c 'import openai, llmock' 2>/dev/null; then
    exit 0
fi

tools/need.sh python3
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "python3 is too old for the tests' OpenAI client: Python 3.10 or later is needed" >&2
    exit 1
}
mkdir -p .deps/bin
rm -rf .deps/venv .deps/site .deps/bin/python "$stamp"
packages=$(sed -n 's/^\(openai\|llmock\)==/\1 /p' "$requirements" | paste -sd, -)
echo "installing the tests' Python packages into .deps ($packages and what they need)"
if python3 -m venv .deps/venv >/dev/null 2>&1; then
    .deps/venv/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --requirement "$requirements"
    run='exec "$here/../venv/bin/python" "$@"'
else
    rm -rf .deps/venv
    pip=$(tools/pip.sh)
    PIP_ROOT_USER_ACTION=ignore $pip install --quiet --disable-pip-version-check --no-warn-conflicts --only-binary :all: --target .deps/site --requirement "$requirements"
    run='PYTHONPATH="$here/../site" exec python3 "$@"'
fi
printf '#!/bin/sh\nhere=$(dirname "$0")\n%s\n' "$run" >.deps/bin/python
chmod 755 .deps/bin/python
cp "$requirements" "$stamp"
