#!/bin/bash
# Judges every file of deploy/ by the program that it is for: nginx -t, promtool, docker-compose config, systemd-analyze verify,
# nats-server -t, the schemas of Kubernetes, sh -n, Python's compiler. No service is started, nothing is left behind.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fails() { echo "check-deploy: $*" >&2; exit 1; }
nats=$PWD/.deps/bin/nats-server
[ -x "$nats" ] || nats=nats-server

# nginx: with a certificate of the moment, and names that resolve.
openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=gateway.example.com -keyout "$work/privkey.pem" \
    -out "$work/fullchain.pem" 2>/dev/null
for conf in deploy/nginx.conf deploy/compose/nginx.conf deploy/compose/nginx.small.conf; do
    sed -e "s#/etc/letsencrypt/live/gateway.example.com/#$work/#; s#/etc/nginx/tls/#$work/#; s#/run/nginx.pid#$work/nginx.pid#" \
        -e "s#/var/log/nginx/#$work/#; s#/dev/std\(out\|err\)#$work/log#" \
        -e 's/server \(api\|relay\)-\([12]\):3000/server 127.0.0.\2:3000/; s/server gateway:3000/server 127.0.0.1:3000/' "$conf" >"$work/nginx.conf"
    nginx -t -q -e "$work/error.log" -c "$work/nginx.conf" || fails "nginx does not accept $conf"
done
# The containers' configuration differs in upstreams, certificates and logs alone.
plain() { grep -v -e 'server [a-z0-9.-]*:300' -e ssl_certificate -e server_name -e _log -e '^#' -e '^$' "$1"; }
for conf in deploy/compose/nginx.conf deploy/compose/nginx.small.conf; do
    diff <(plain deploy/nginx.conf) <(plain "$conf") || fails "$conf is not deploy/nginx.conf any more"
done

promtool check rules deploy/prometheus/rules.yml >"$work/out" || { cat "$work/out"; fails "the alert rules"; }
promtool test rules deploy/prometheus/rules.test.yml >"$work/out" || { cat "$work/out"; fails "the tests of the alert rules"; }
promtool check config --syntax-only deploy/prometheus/prometheus.yml >"$work/out" || { cat "$work/out"; fails "prometheus.yml"; }

# docker-compose reads what it includes: a copy, with secrets made by the script that makes them.
cp -r deploy "$work/deploy"
mkdir -p "$work/deploy/tls"
sh "$work/deploy/compose/secrets.sh" >/dev/null
for file in compose.yaml compose.small.yaml; do
    docker-compose --file "$work/deploy/$file" config >"$work/$file" || fails "$file"
done
PYTHONPATH=.deps/deploy tools/audit.py manifests "$work"/compose*.yaml || fails "how containers run"

# Their programs are not installed here: any will do for the check.
mkdir "$work/units"
for unit in deploy/systemd/*; do
    sed 's#^ExecStart=/usr/local/bin/[^ ]*#ExecStart=/bin/true#; s#^Documentation=.*##' "$unit" >"$work/units/$(basename "$unit")"
done
mv "$work/units/nexusroute@.service" "$work/units/nexusroute@one.service"
systemd-analyze verify --man=no "$work"/units/* 2>"$work/out" || { cat "$work/out"; fails "the systemd units"; }
! grep -q "$work/units" "$work/out" || { cat "$work/out"; fails "the systemd units"; }

for role in API RELAY GATEWAY READER RESTORE SYS ROUTE; do export "NATS_${role}_PASSWORD=word$role"; done
export NATS_NAME=one NATS_TOKEN=word
for number in 1 2 3; do export "NATS_ROUTE_$number=\"nats://route:wordROUTE@nats-$number:6222\""; done
for conf in deploy/nats.conf deploy/nats-cluster.conf deploy/compose/nats.conf; do
    mkdir -p "$work/nats/nats"
    cp "$conf" "$work/nats/nats.conf"
    cp deploy/nats/accounts.conf "$work/nats/nats/"
    "$nats" -t --config "$work/nats/nats.conf" 2>"$work/out" || { cat "$work/out"; fails "$conf"; }
done
cp deploy/kubernetes/nats.conf deploy/nats/accounts.conf "$work/nats/"
"$nats" -t --config "$work/nats/nats.conf" 2>"$work/out" || { cat "$work/out"; fails "deploy/kubernetes/nats.conf"; }

PYTHONPATH=.deps/deploy python3 -c 'import sys; from kubernetes_validate.__main__ import main; sys.exit(main())' \
    --strict deploy/kubernetes/*.yaml >"$work/out" 2>&1 || { cat "$work/out"; fails "the manifests of Kubernetes"; }
! grep -q ERROR "$work/out" || { cat "$work/out"; fails "the manifests of Kubernetes"; }

bash -n tools/check-install.sh || fails tools/check-install.sh
for script in deploy/install.sh deploy/compose/*.sh deploy/backup/*.sh; do sh -n "$script" || fails "$script"; done
PYTHONPYCACHEPREFIX=$work/pycache python3 -m py_compile deploy/backup/nexusroute-backup tools/cluster.py tools/audit.py || fails "a Python script"
echo "deploy/ is accepted by nginx, promtool, docker-compose, systemd-analyze, nats-server and the schemas of Kubernetes"
