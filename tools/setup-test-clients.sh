#!/bin/sh
# Installs what the system tests run and did not write: Python packages (tests/clients/requirements.txt) and npm packages
# (tests/clients/package-lock.json), both in exact versions. Leaves .deps/bin/python, a python that has the former, in an
# environment of its own where Python can make one, else with a plain folder of packages; and tests/clients/node_modules.
# `tools/setup-test-clients.sh python` does only the former.
set -eu
cd "$(dirname "$0")/.."

python_packages() {
    requirements=tests/clients/requirements.txt
    stamp=.deps/test-clients.installed
    if [ -x .deps/bin/python ] && cmp -s "$requirements" "$stamp" && .deps/bin/python -c 'import openai, llmock, aiosmtpd, oidc_provider_mock, schemathesis, openpyxl, beancount' 2>/dev/null; then
        return
    fi
    tools/need.sh python3
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
        echo "python3 is too old for the tests' clients: Python 3.10 or later is needed" >&2
        exit 1
    }
    mkdir -p .deps/bin
    rm -rf .deps/venv .deps/site .deps/bin/python "$stamp"
    packages=$(sed -n 's/^\(openai\|anthropic\|google-genai\|llmock\|aiosmtpd\|oidc-provider-mock\|schemathesis\|openpyxl\|beancount\)==\(.*\)/\1 \2/p' "$requirements" | paste -sd, - | sed 's|,|, |g')
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
}

npm_packages() {
    lock=tests/clients/package-lock.json
    stamp=tests/clients/node_modules/.installed
    if cmp -s "$lock" "$stamp"; then
        return
    fi
    tools/need.sh node npm
    node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' || {
        echo "node is too old for the tests' clients: Node.js 20 or later is needed" >&2
        exit 1
    }
    packages=$(sed -n '/"dependencies"/,/}/s/^ *"\(.*\)": "\([0-9.]*\)".*/\1 \2/p' tests/clients/package.json | paste -sd, - | sed 's|,|, |g')
    echo "installing the tests' npm packages into tests/clients/node_modules ($packages and what they need)"
    # No package needs its install script to work.
    (cd tests/clients && npm ci --silent --ignore-scripts --no-audit --no-fund)
    cp "$lock" "$stamp"
}

python_packages
# What reads the PDF of a statement back.
{ command -v pdftotext >/dev/null 2>&1 && [ -d /usr/share/poppler/cMap ]; } ||
    tools/apt.sh "the tests of statements need" poppler-utils poppler-data
[ "${1:-}" = python ] || npm_packages
