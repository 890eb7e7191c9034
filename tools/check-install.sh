#!/bin/bash
# An outsider's installation: deploy/install.sh on a bare Debian made by debootstrap, up to a call through nginx, a second run of it, a
# backup, and `ledger verify`. Nothing outside of a temporary folder is touched; its network is its own once packages are there.
#
#   tools/check-install.sh      as root, with debootstrap; some minutes. NEXUSROUTE_BIN names the binary.
#
# systemd does not run in there: its units are judged by systemd-analyze, and the service is started as its unit says.
set -euo pipefail
cd "$(dirname "$0")/.."
fails() { echo "check-install: $*" >&2; exit 1; }
domain=gateway.example.com

# ---- the second half, in namespaces of its own: processes, mounts and network end with it.
if [ "${1:-}" = inside ]; then
    root=$2
    mount -t proc proc "$root/proc"
    mount --bind /dev "$root/dev"
    ip link set lo up
    # What systemd would read: variables of the unit, then those of the operator's file.
    unit=$root/etc/systemd/system/nexusroute.service
    variables=$(sed -n 's/^Environment=//p' "$unit"; grep -v '^#' "$root/etc/nexusroute/environment")
    user=$(sed -n 's/^User=//p' "$unit")
    command=$(sed -n 's/^ExecStart=//p' "$unit")
    # shellcheck disable=SC2206 # words
    as_unit=(chroot --userspec="$user:$user" "$root" env --ignore-environment --chdir=/var/lib/nexusroute
        PATH=/usr/local/bin:/usr/bin:/bin $variables)
    # shellcheck disable=SC2086 # words
    "${as_unit[@]}" $command >"$root/tmp/service.log" 2>&1 &
    service=$!
    for _ in $(seq 120); do
        curl --fail --silent --output /dev/null http://127.0.0.1:3000/readyz && break
        kill -0 $service 2>/dev/null || { cat "$root/tmp/service.log"; fails "the service ended"; }
        sleep 0.5
    done
    chroot "$root" nginx
    chroot "$root" env DOMAIN="$domain" python3 /tmp/walk.py </dev/null
    "${as_unit[@]}" nexusroute-backup create
    "${as_unit[@]}" nexusroute ledger verify | tail -n 1
    kill -TERM $service
    wait $service || fails "the service ended with $?"
    grep -q "panicked" "$root/tmp/service.log" && fails "the service panicked"
    chroot "$root" nginx -s stop
    exit 0
fi

[ "$(id -u)" = 0 ] || fails "run it as root: debootstrap and chroot ask for it"
command -v debootstrap >/dev/null || tools/apt.sh "make check-install needs" debootstrap
command -v ip >/dev/null || tools/apt.sh "make check-install needs" iproute2
binary=${NEXUSROUTE_BIN:-}
for kind in release quick debug; do
    [ -n "$binary" ] || [ ! -x "target/$kind/nexusroute" ] || binary=target/$kind/nexusroute
done
[ -x "$binary" ] || fails "there is no nexusroute: make build"
nats=.deps/bin/nats-server
[ -x "$nats" ] || nats=$(command -v nats-server) || fails "there is no nats-server: make deps"

root=$(mktemp -d -t nexusroute-install-XXXXXX)
clean_up() { rm -rf --one-file-system "$root"; }
trap clean_up EXIT
chmod 755 "$root"
echo "a bare Debian 12"
debootstrap --variant=minbase --include=systemd bookworm "$root" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$root.log" 2>&1 ||
    { tail -n 20 "$root.log"; rm -f "$root.log"; fails "debootstrap"; }
rm -f "$root.log"
# No package starts a service in here.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
cp /etc/resolv.conf "$root/etc/resolv.conf"
if [ -d /etc/apt/apt.conf.d ]; then
    grep -hi '^acquire::.*proxy' /etc/apt/apt.conf.d/* >"$root/etc/apt/apt.conf.d/99proxy" 2>/dev/null || true
fi
# What an outsider has: the sources, with what was built of them.
mkdir -p "$root/opt/nexusroute/target/release" "$root/opt/nexusroute/.deps/bin"
cp -r deploy docs README.md "$root/opt/nexusroute/"
cp "$binary" "$root/opt/nexusroute/target/release/nexusroute"
cp "$nats" "$root/opt/nexusroute/.deps/bin/nats-server"

installs() {
    unshare --mount sh -c "mount -t proc proc '$root/proc' && exec chroot '$root' /opt/nexusroute/deploy/install.sh --domain $domain --self-signed"
}
installs
# The providers of this check live on loopback. It is an option of the operator's, so a second run must leave it alone.
echo NEXUSROUTE_ALLOW_PRIVATE_PROVIDERS=true >>"$root/etc/nexusroute/environment"
before=$(cksum "$root/etc/nexusroute/environment" "$root/etc/letsencrypt/live/$domain/privkey.pem")
echo "the same again, as an update"
installs >/dev/null
[ "$before" = "$(cksum "$root/etc/nexusroute/environment" "$root/etc/letsencrypt/live/$domain/privkey.pem")" ] ||
    fails "a second run changed the operator's files"

echo "units"
chroot "$root" sh -c 'cd /etc/systemd/system && cp nexusroute@.service nexusroute@one.service &&
    systemd-analyze verify --man=no ./nexusroute.service ./nexusroute@one.service ./nexusroute-*.service ./nexusroute-*.timer; code=$?
    rm nexusroute@one.service; exit $code' >"$root/tmp/verify" 2>&1 || { cat "$root/tmp/verify"; fails "systemd-analyze verify"; }
! grep -q nexusroute "$root/tmp/verify" || { cat "$root/tmp/verify"; fails "systemd-analyze verify"; }

cat >"$root/tmp/walk.py" <<'PYTHON'
"""What an outsider does next: log in with the password that the service printed, and go on until a call is answered."""
import http.client, http.server, json, os, re, ssl, threading, time

DOMAIN = os.environ["DOMAIN"]


class Provider(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = json.dumps({"id": "x", "object": "chat.completion", "created": 1, "model": body["model"],
                           "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}, "choices": [
                               {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Well."}}]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


provider = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
threading.Thread(target=provider.serve_forever, daemon=True).start()
context = ssl.create_default_context(cafile=f"/etc/letsencrypt/live/{DOMAIN}/fullchain.pem")


class Connection(http.client.HTTPSConnection):
    """To nginx on this machine, by the name in its certificate."""

    def connect(self):
        http.client.HTTPConnection.connect(self)
        self.sock = context.wrap_socket(self.sock, server_hostname=DOMAIN)


def ask(method, path, body=None, token=None):
    connection = Connection("127.0.0.1", 443, timeout=30)
    headers = {"host": DOMAIN, "content-type": "application/json", "origin": f"https://{DOMAIN}"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    if answer.status >= 300:
        raise SystemExit(f"{method} {path}: {answer.status} {text[:500]}")
    return text


print("healthz:", ask("GET", "/healthz")[:60])
said = open("/tmp/service.log").read()
found = re.search(r"one-time password (\S+)", said)
password = found.group(1) if found else None
if not password:
    raise SystemExit("the service printed no password:\n" + said[-2000:])
admin = json.loads(ask("POST", "/api/user/login", {"login": "admin", "password": password}))["access_token"]
url = f"http://127.0.0.1:{provider.server_port}/v1"
made = json.loads(ask("POST", "/api/admin/providers", {"name": "p", "api_format": "openai", "base_url": url, "api_key": "any"}, admin))
ask("POST", f"/api/admin/providers/{made['id']}/models", {"model_name": "installed-model"}, admin)
ask("POST", "/api/admin/prices", {"model": "installed-model", "prices": {"input": "3", "output": "15"}}, admin)
ask("POST", "/api/user/register", {"username": "ann", "email": "ann@example.com", "password": "correct horse battery"})
ann = json.loads(ask("POST", "/api/user/login", {"login": "ann", "password": "correct horse battery"}))["access_token"]
who = json.loads(ask("GET", "/api/user/self", token=ann))["id"]
ask("POST", f"/api/admin/users/{who}/adjustments", {"credits": "5", "reason": "a first look"}, admin)
key = json.loads(ask("POST", "/api/user/keys", {"name": "first"}, ann))["secret"]
end = time.monotonic() + 30
while True:
    try:
        answer = json.loads(ask("POST", "/v1/chat/completions", {
            "model": "installed-model", "max_tokens": 50, "messages": [{"role": "user", "content": "How is it going?"}]}, key))
        break
    except SystemExit:
        if time.monotonic() > end:
            raise
        time.sleep(0.5)
print("a call through nginx was answered:", answer["choices"][0]["message"]["content"])
PYTHON
echo "the service, as its unit starts it"
unshare --mount --net --pid --fork --kill-child "$PWD/tools/check-install.sh" inside "$root"
echo "deploy/install.sh makes a working service of a bare Debian"
