#!/bin/sh
# Installs NexusRoute on one Debian 12 or Ubuntu 22.04, as root: the binary and its nats-server, a service user, systemd units with
# timers for verification and backups, nginx with TLS.
#
#   deploy/install.sh --domain gateway.example.com [--email you@example.com] [--self-signed] [--binary FILE] [--nats-server FILE]
#
# Without --self-signed the certificate comes from Let's Encrypt: the domain must lead here, and port 80 be open. Run it again to
# update: files of yours (/etc/nexusroute/environment, certificates) stay as they are, the service is restarted when the binary is new.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
domain= email= self_signed= binary=$here/target/release/nexusroute nats=$here/.deps/bin/nats-server
while [ $# -gt 0 ]; do
    case $1 in
        --domain) domain=$2; shift ;;
        --email) email=$2; shift ;;
        --self-signed) self_signed=yes ;;
        --binary) binary=$2; shift ;;
        --nats-server) nats=$2; shift ;;
        *) echo "install.sh: $1 is unknown; see the head of this file" >&2; exit 2 ;;
    esac
    shift
done
fail() { echo "install.sh: $*" >&2; exit 1; }
[ -n "$domain" ] || fail "name the domain: --domain gateway.example.com"
[ "$(id -u)" = 0 ] || fail "run it as root"
[ -x "$binary" ] || fail "$binary is missing: run \`make build\`, or name it by --binary"
[ -x "$nats" ] || fail "$nats is missing: run \`make deps\`, or name it by --nats-server"
# shellcheck source=/dev/null
. /etc/os-release
case "$ID-${VERSION_ID:-}" in
    debian-12 | debian-13 | ubuntu-22.04 | ubuntu-24.04) ;;
    *) echo "install.sh: made for Debian 12 and Ubuntu 22.04; going on with $ID ${VERSION_ID:-}" >&2 ;;
esac

echo "packages"
packages="nginx openssl python3 curl ca-certificates"
[ -n "$self_signed" ] || packages="$packages certbot"
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet >/dev/null
# shellcheck disable=SC2086 # words
apt-get install --quiet --yes --no-install-recommends $packages >/dev/null

echo "service user and folders"
id nexusroute >/dev/null 2>&1 || useradd --system --home-dir /var/lib/nexusroute --shell /usr/sbin/nologin nexusroute
install --directory --owner nexusroute --group nexusroute --mode 0700 /var/lib/nexusroute /var/backups/nexusroute
install --directory --mode 0755 /etc/nexusroute /usr/share/doc/nexusroute /var/www/certbot
cp "$here"/docs/*.md "$here/README.md" /usr/share/doc/nexusroute/

echo "configuration"
if [ ! -e /etc/nexusroute/environment ]; then
    (
        umask 077
        cat >/etc/nexusroute/environment <<ENVIRONMENT
# Options of NexusRoute, one NAME=value a line: /usr/share/doc/nexusroute/configuration.md.
NEXUSROUTE_PUBLIC_URL=https://$domain
NEXUSROUTE_PRODUCTION=true
NEXUSROUTE_LISTEN=127.0.0.1:3000
NEXUSROUTE_TRUSTED_PROXIES=127.0.0.1/32
NEXUSROUTE_NATS_SERVER=/usr/local/bin/nats-server
NEXUSROUTE_LOG_FORMAT=json
ENVIRONMENT
    )
fi

echo "programs and units"
is_new=
cmp -s "$binary" /usr/local/bin/nexusroute || is_new=yes
# Renamed into place: a running binary cannot be written to.
for pair in "$binary:nexusroute" "$nats:nats-server" "$here/deploy/backup/nexusroute-backup:nexusroute-backup"; do
    install --mode 0755 "${pair%:*}" "/usr/local/bin/.${pair##*:}.new"
    mv "/usr/local/bin/.${pair##*:}.new" "/usr/local/bin/${pair##*:}"
done
cp "$here"/deploy/systemd/nexusroute*.service "$here"/deploy/systemd/nexusroute*.timer /etc/systemd/system/

echo "nginx"
live=/etc/letsencrypt/live/$domain
if [ ! -e "$live/fullchain.pem" ]; then
    if [ -n "$self_signed" ]; then
        mkdir -p "$live"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj "/CN=$domain" \
            -addext "subjectAltName=DNS:$domain" -keyout "$live/privkey.pem" -out "$live/fullchain.pem" 2>/dev/null
        chmod 600 "$live/privkey.pem"
    else
        systemctl stop nginx 2>/dev/null || true
        mail="--register-unsafely-without-email"
        [ -z "$email" ] || mail="--email $email"
        # shellcheck disable=SC2086 # words
        certbot certonly --standalone --non-interactive --agree-tos $mail --domain "$domain" \
            --pre-hook "systemctl stop nginx || true" --post-hook "systemctl start nginx || true"
    fi
fi
[ -e /etc/nginx/nginx.conf.before-nexusroute ] || cp /etc/nginx/nginx.conf /etc/nginx/nginx.conf.before-nexusroute
# One process with all roles: all upstreams are the same.
sed -e "s/gateway\.example\.com/$domain/g" -e 's/127\.0\.0\.1:300[123]/127.0.0.1:3000/' -e '/ backup;$/d' \
    "$here/deploy/nginx.conf" | awk '!(/server 127.0.0.1:3000/ && last == $0) { print } { last = $0 }' >/etc/nginx/nginx.conf
nginx -t -q || fail "nginx does not accept /etc/nginx/nginx.conf"

if [ ! -d /run/systemd/system ]; then
    echo "systemd does not run here: the units are installed, start them where it does"
    exit 0
fi
systemctl daemon-reload
systemctl enable --quiet nexusroute.service nexusroute-verify.timer nexusroute-backup.timer nginx.service
[ -z "$is_new" ] || systemctl restart nexusroute.service
systemctl start nexusroute.service nexusroute-verify.timer nexusroute-backup.timer
systemctl restart nginx.service
for _ in $(seq 60); do
    if curl --fail --silent --output /dev/null http://127.0.0.1:3000/readyz; then
        echo "NexusRoute is ready at https://$domain"
        journalctl --unit nexusroute --no-pager --output cat | grep -i -m1 password || true
        echo "keep /var/lib/nexusroute/master.key somewhere apart from your backups"
        exit 0
    fi
    sleep 1
done
journalctl --unit nexusroute --no-pager --lines 20 >&2
fail "the service did not become ready within a minute"
