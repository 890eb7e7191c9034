#!/usr/bin/env python3
"""A whole cluster on loopback, as real processes with the files of deploy/: nginx with TLS before two processes (api,relay), a
canary and a projector; three nats-servers with a user for each role; PostgreSQL; Redis; Prometheus where it is installed.

    tools/cluster.py run      start it, print where everything is, stop it all at Ctrl-C
    tools/cluster.py check    start it, walk through nginx as a user would, restart both processes one after the other under
                              load and see that no call fails, send the canary 10 % and see that in the metrics, verify the ledger

All folders and ports are its own, and it ends what it started, and nothing else. NEXUSROUTE_BIN names the binary. Python's own
library only.
"""

import collections
import email
import email.policy
import glob
import http.client
import http.server
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
PATIENCE = 90
CALLERS = 8
MODEL = "cluster-model"


def binary():
    named = os.environ.get("NEXUSROUTE_BIN")
    found = [pathlib.Path(named)] if named else [REPOSITORY / "target" / kind / "nexusroute" for kind in ("release", "quick", "debug")]
    for path in found:
        if path.is_file():
            return str(path)
    sys.exit("cluster: there is no nexusroute; run `make build` or name it by NEXUSROUTE_BIN")


def program(name, *folders):
    for folder in [*os.environ["PATH"].split(":"), "/usr/sbin", *folders]:
        for path in sorted(glob.glob(f"{folder}/{name}")):
            if os.access(path, os.X_OK):
                return path
    return None


def needed(name, *folders):
    return program(name, *folders) or sys.exit(f"cluster: {name} is missing")


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def until(what, look, limit=PATIENCE):
    end = time.monotonic() + limit
    while True:
        try:
            if found := look():
                return found
        except (OSError, http.client.HTTPException, ValueError):
            pass
        if time.monotonic() > end:
            raise SystemExit(f"cluster: not within {limit} s: {what}")
        time.sleep(0.1)


class Provider(http.server.ThreadingHTTPServer):
    """An OpenAI-shaped provider that takes a moment for each answer, so that calls are in flight when a process stops."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), ProviderHandler)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class ProviderHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    USAGE = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not body.get("stream"):
            time.sleep(0.2)
            answer = {"id": "x", "object": "chat.completion", "created": 1, "model": body["model"], "usage": self.USAGE,
                      "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "All is well."}}]}
            text = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        chunk = lambda delta, **more: {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": body["model"],
                                       "choices": [{"index": 0, "delta": delta, "finish_reason": None}], **more}
        events = [chunk({"role": "assistant", "content": "one "})] + [chunk({"content": f"{n} "}) for n in range(8)]
        events.append({**chunk({}), "choices": [], "usage": self.USAGE})
        for event in [json.dumps(it) for it in events] + ["[DONE]"]:
            text = f"data: {event}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
            self.wfile.flush()
            time.sleep(0.1)
        self.wfile.write(b"0\r\n\r\n")


class Mailbox(socketserver.ThreadingTCPServer):
    """A mail server that takes everything and keeps it."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), MailHandler)
        self.port, self.mails = self.server_address[1], []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def link_to(self, address):
        """The link in the newest mail to somebody; None: there is none yet."""
        for to, message in reversed(self.mails):
            if to == address:
                text = message.get_body(("plain",)).get_content()
                return next(line.strip() for line in text.splitlines() if line.startswith("https://"))
        return None


class MailHandler(socketserver.StreamRequestHandler):
    def handle(self):
        says = lambda text: self.wfile.write(text.encode() + b"\r\n")
        to = None
        says("220 cluster")
        while line := self.rfile.readline().decode().strip():
            verb = line.upper()
            if verb.startswith("RCPT TO:"):
                to = line[8:].strip().split(">")[0].lstrip("<")
            if verb == "DATA":
                says("354 go on")
                body = b""
                while (piece := self.rfile.readline()) not in (b".\r\n", b""):
                    body += piece[1:] if piece.startswith(b"..") else piece
                self.server.mails.append((to, email.message_from_bytes(body, policy=email.policy.default)))
            says("221 bye" if verb == "QUIT" else "250 cluster")
            if verb == "QUIT":
                return


class Cluster:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.children = []  # newest last
        self.nodes = {}
        self.mailbox = Mailbox()

    # ---- processes

    def spawn(self, name, command, environment=None, **options):
        log = open(self.folder / f"{name}.log", "ab")
        clean = {key: value for key, value in os.environ.items() if not key.startswith("NEXUSROUTE_")}
        child = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                 env={**clean, **(environment or {})}, start_new_session=True, **options)
        self.children.append((name, child))
        return child

    def stop(self):
        for name, child in reversed(self.children):
            if child.poll() is None:
                # PostgreSQL's fast shutdown is SIGINT; it would wait for sessions at SIGTERM.
                child.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
                try:
                    child.wait(60)
                except subprocess.TimeoutExpired:
                    print(f"cluster: {name} does not stop; killed", file=sys.stderr)
                    child.kill()
                    child.wait()

    def start(self):
        self.postgres()
        self.redis()
        self.nats()
        for name, roles, user in (("node-1", "api,relay", "gateway"), ("node-2", "api,relay", "gateway"),
                                  ("canary", "api,relay", "gateway"), ("projector-1", "projector", "reader")):
            (self.folder / name).mkdir()
            self.nodes[name] = {"port": free_port(), "roles": roles, "user": user}
            self.node(name)
        self.nginx()
        for name in self.nodes:
            self.until_ready(name)
        self.prometheus()

    def postgres(self):
        initdb = needed("initdb", "/usr/lib/postgresql/*/bin")
        server = needed("postgres", "/usr/lib/postgresql/*/bin")
        data, port = self.folder / "postgres", free_port()
        data.mkdir()
        as_user = {}
        if os.getuid() == 0:
            # It refuses to run as root.
            nobody = pwd.getpwnam("postgres" if any(it.pw_name == "postgres" for it in pwd.getpwall()) else "nobody")
            os.chown(data, nobody.pw_uid, nobody.pw_gid)
            self.folder.chmod(0o755)
            as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        secret = data.with_suffix(".password")
        secret.write_text("of-postgres")
        secret.chmod(0o644)
        subprocess.run([initdb, "--pgdata", data, "--username", "nexusroute", "--auth", "scram-sha-256", "--pwfile", secret, "--no-sync",
                        "--encoding", "UTF8", "--locale", "C"], check=True, stdout=subprocess.DEVNULL, cwd="/", **as_user)
        self.spawn("postgres", [server, "-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
                                "-c", "fsync=off"], cwd="/", **as_user)
        self.database = f"postgres://nexusroute:of-postgres@127.0.0.1:{port}/postgres"
        until("PostgreSQL listens", lambda: socket.create_connection(("127.0.0.1", port), 1))

    def redis(self):
        port = free_port()
        self.spawn("redis", [needed("redis-server"), "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", self.folder])
        self.redis_url = f"redis://127.0.0.1:{port}"

    def nats(self):
        server = REPOSITORY / ".deps/bin/nats-server"
        server = str(server) if server.exists() else needed("nats-server")
        routes, self.nats_ports = [free_port() for _ in range(3)], [free_port() for _ in range(3)]
        text = (REPOSITORY / "deploy/compose/nats.conf").read_text()
        passwords = {f"NATS_{it.upper()}_PASSWORD": f"of{it}" for it in ("api", "relay", "gateway", "reader", "restore", "sys", "route")}
        passwords.update({f"NATS_ROUTE_{number + 1}": f'"nats://route:ofroute@127.0.0.1:{port}"' for number, port in enumerate(routes)})
        monitors = []
        for number in range(3):
            here = self.folder / f"nats-{number + 1}"
            (here / "nats").mkdir(parents=True)
            shutil.copy(REPOSITORY / "deploy/nats/accounts.conf", here / "nats/accounts.conf")
            monitors.append(free_port())
            ours = text.replace("0.0.0.0:4222", f"127.0.0.1:{self.nats_ports[number]}").replace("/var/lib/nats", str(here / "store"))
            ours = ours.replace("0.0.0.0:6222", f"127.0.0.1:{routes[number]}").replace("127.0.0.1:8222", f"127.0.0.1:{monitors[number]}")
            (here / "nats.conf").write_text(ours)
            self.spawn(here.name, [server, "--config", here / "nats.conf"], {"NATS_NAME": here.name, **passwords})
        for monitor in monitors:
            until("the nats-servers have found each other", lambda: request(monitor, "GET", "/healthz")[0] == 200)

    def environment(self, name):
        node = self.nodes[name]
        return {
            "NEXUSROUTE_DATA_DIR": str(self.folder / name), "NEXUSROUTE_LISTEN": f"127.0.0.1:{node['port']}",
            "NEXUSROUTE_ROLES": node["roles"], "NEXUSROUTE_PUBLIC_URL": "https://localhost",
            "NEXUSROUTE_DATABASE_URL": self.database, "NEXUSROUTE_REDIS_URL": self.redis_url, "NEXUSROUTE_MASTER_KEY": "6e" * 32,
            "NEXUSROUTE_NATS_URL": ",".join(f"nats://127.0.0.1:{port}" for port in self.nats_ports),
            "NEXUSROUTE_NATS_USER": node["user"], "NEXUSROUTE_NATS_PASSWORD": f"of{node['user']}",
            "NEXUSROUTE_NATS_REPLICAS": "3", "NEXUSROUTE_NATS_SYNC": "always", "NEXUSROUTE_ADMIN_PASSWORD": "of the cluster's admin",
            "NEXUSROUTE_TRUSTED_PROXIES": "127.0.0.1/32", "NEXUSROUTE_ALLOW_PRIVATE_PROVIDERS": "true",
            "NEXUSROUTE_LOG_FORMAT": "json",
            # So that who registers must prove their address.
            "NEXUSROUTE_SMTP_HOST": "127.0.0.1", "NEXUSROUTE_SMTP_PORT": str(self.mailbox.port), "NEXUSROUTE_SMTP_SECURITY": "none",
            "NEXUSROUTE_SMTP_FROM": "Cluster <gateway@localhost>",
        }

    def node(self, name):
        self.nodes[name]["process"] = self.spawn(name, [binary(), "serve"], self.environment(name))

    def until_ready(self, name):
        def ready():
            if self.nodes[name]["process"].poll() is not None:
                raise SystemExit(f"cluster: {name} ended:\n" + (self.folder / f"{name}.log").read_text()[-2000:])
            return request(self.nodes[name]["port"], "GET", "/readyz")[0] == 200
        until(f"{name} is ready", ready)

    def restart(self, name):
        """As a service manager does it: SIGTERM, its end, a start."""
        self.nodes[name]["process"].terminate()
        self.nodes[name]["process"].wait(90)
        self.node(name)
        self.until_ready(name)

    def nginx(self):
        self.tls = self.folder / "fullchain.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", self.folder / "privkey.pem",
                        "-out", self.tls], check=True, stderr=subprocess.DEVNULL)
        self.port = free_port()
        self.configure_nginx(0)
        self.proxy = self.spawn("nginx", [needed("nginx"), "-e", self.folder / "nginx-error.log", "-c", self.folder / "nginx.conf"])
        until("nginx listens", lambda: socket.create_connection(("127.0.0.1", self.port), 1))

    def configure_nginx(self, percent):
        text = (REPOSITORY / "deploy/nginx.conf").read_text()
        ports = {3001: "node-1", 3002: "node-2", 3003: "canary"}
        for port, name in ports.items():
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{self.nodes[name]['port']}")
        text = text.replace("/etc/letsencrypt/live/gateway.example.com/", f"{self.folder}/").replace("listen 80;", f"listen 127.0.0.1:{free_port()};")
        text = text.replace("listen 443 ", f"listen 127.0.0.1:{self.port} ").replace("gateway.example.com", "localhost")
        text = text.replace("/run/nginx.pid", f"{self.folder}/nginx.pid").replace("/var/log/nginx/", f"{self.folder}/nginx-")
        # All callers here have one address, and more processes here than cores.
        text = text.replace("worker_processes auto", "daemon off;\nworker_processes 1").replace("rate=30r/s", "rate=1000r/s")
        text = text.replace("rate=100r/s", "rate=1000r/s")
        temporary = "".join(f"    {it}_temp_path {self.folder}/nginx-{it};\n" for it in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        text = text.replace("http {\n", "http {\n" + temporary, 1)
        if percent:
            text = text.replace("# 10%  canary;", f"{percent}%  canary;")
        (self.folder / "nginx.conf").write_text(text)

    def send_canary(self, percent):
        self.configure_nginx(percent)
        self.proxy.send_signal(signal.SIGHUP)

    def prometheus(self):
        self.prometheus_port = None
        if not (server := program("prometheus")):
            return
        self.prometheus_port = free_port()
        shutil.copy(REPOSITORY / "deploy/prometheus/rules.yml", self.folder / "rules.yml")
        targets = lambda names: json.dumps([f"127.0.0.1:{self.nodes[name]['port']}" for name in names])
        (self.folder / "prometheus.yml").write_text(
            "global: { scrape_interval: 1s, evaluation_interval: 1s }\nrule_files: [rules.yml]\nscrape_configs:\n"
            "  - job_name: nexusroute\n    static_configs:\n"
            f"      - {{ targets: {targets(['node-1', 'node-2', 'projector-1'])}, labels: {{ release: stable }} }}\n"
            f"      - {{ targets: {targets(['canary'])}, labels: {{ release: canary }} }}\n")
        self.spawn("prometheus", [server, f"--config.file={self.folder / 'prometheus.yml'}", f"--storage.tsdb.path={self.folder / 'tsdb'}",
                                  f"--web.listen-address=127.0.0.1:{self.prometheus_port}"])
        until("Prometheus is ready", lambda: request(self.prometheus_port, "GET", "/-/ready")[0] == 200)

    # ---- through nginx

    def context(self):
        return ssl.create_default_context(cafile=str(self.tls))

    def connection(self):
        return http.client.HTTPSConnection("localhost", self.port, timeout=60, context=self.context())

    def api(self, method, path, body=None, token=None):
        headers = {"content-type": "application/json", "origin": "https://localhost"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        connection = self.connection()
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status >= 300:
            raise SystemExit(f"cluster: {method} {path}: {answer.status} {text[:500]}")
        return json.loads(text) if text else None

    def listens(self, token):
        """What happens on an account, told through nginx as it happens."""
        connection = self.connection()
        connection.request("GET", "/api/user/events", headers={"accept": "text/event-stream", "authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        if answer.status != 200 or answer.headers["content-type"] != "text/event-stream":
            raise SystemExit(f"cluster: GET /api/user/events: {answer.status} {answer.headers['content-type']}")
        return answer

    def page(self, path):
        """A page as a browser gets it: status, headers, text."""
        connection = self.connection()
        connection.request("GET", path, headers={"accept": "text/html"})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, answer.headers, text

    def headers(self):
        """What nginx and the gateway tell browsers, on a page and on an answer of the API."""
        for path in ("/", "/api/site"):
            status, headers, _ = self.page(path)
            wanted = {"strict-transport-security": "max-age=", "x-content-type-options": "nosniff",
                      "content-security-policy": "frame-ancestors 'none'", "referrer-policy": "origin"}
            for name, value in wanted.items():
                if status != 200 or value not in headers.get(name, ""):
                    raise SystemExit(f"cluster: GET {path}: {status}, {name}: {headers.get(name)}")

    def set_up(self, provider):
        """The walk of the README, through nginx and its TLS: a provider, a model, a price; a user who proves their address, pays,
        makes a key, and calls."""
        until("the API answers through nginx", lambda: self.api("GET", "/api/site"))
        self.headers()
        admin = self.api("POST", "/api/user/login", {"login": "admin", "password": "of the cluster's admin"})["access_token"]
        made = self.api("POST", "/api/admin/providers",
                        {"name": "pretended", "api_format": "openai", "base_url": provider.url, "api_key": "any"}, admin)
        self.api("POST", f"/api/admin/providers/{made['id']}/models", {"model_name": MODEL}, admin)
        self.api("POST", "/api/admin/prices", {"model": MODEL, "prices": {"input": "3", "output": "15"}}, admin)
        self.api("POST", "/api/user/register", {"username": "ann", "email": "ann@example.com", "password": "correct horse battery"})
        connection = self.connection()
        connection.request("POST", "/api/user/login", json.dumps({"login": "ann", "password": "correct horse battery"}),
                           {"content-type": "application/json", "origin": "https://localhost"})
        if (status := connection.getresponse().status) != 403:
            raise SystemExit(f"cluster: a login before the address was proven: {status}")
        link = until("the mail with the link is there", lambda: self.mailbox.link_to("ann@example.com"))
        status = self.page(link.removeprefix("https://localhost"))[0]
        if status >= 400:
            raise SystemExit(f"cluster: the link in the mail answers {status}")
        user = self.api("POST", "/api/user/login", {"login": "ann", "password": "correct horse battery"})["access_token"]
        news, told = self.listens(user), 0
        balance_told(news)
        order = self.api("POST", "/api/user/topup", {"amount": "500.00", "currency": "CNY", "channel": "sandbox"}, user)["order"]
        connection = self.connection()
        connection.request("POST", f"/api/payments/sandbox/{order}/pay", headers={"accept": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if answer.status >= 400:
            raise SystemExit(f"cluster: the sandbox answered {answer.status}")
        # The stream says how it is every 15 seconds, changed or not; what nginx kept back would not come at all.
        end = time.monotonic() + PATIENCE
        while told <= 69:
            if time.monotonic() > end:
                raise SystemExit(f"cluster: the payment is not told of; the stream still says {told}")
            told = float(balance_told(news)["total"])
        news.close()
        key = self.api("POST", "/api/user/keys", {"name": "cluster"}, user)["secret"]
        until("every relay knows the key and the model", lambda: all(
            call(http.client.HTTPConnection("127.0.0.1", self.nodes[name]["port"], timeout=60), key, False) is None
            for name in ("node-1", "node-2", "canary")))
        for stream in (False, True):
            if fault := call(self.connection(), key, stream):
                raise SystemExit(f"cluster: a call through nginx ({'stream' if stream else 'JSON'}): {fault}")
        until("the calls are in the user's history", lambda: {False, True} == {
            it["stream"] for it in self.api("GET", "/api/user/usage?limit=100", token=user)["items"]})
        return key


def request(port, method, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def balance_told(news):
    """The next balance that a stream tells of."""
    while line := news.readline():
        if line.strip() == b"event: balance":
            return json.loads(news.readline().removeprefix(b"data:"))
    raise SystemExit("cluster: the stream of what happens on an account is over")


def call(connection, key, stream):
    """A chat call; None: it came whole. Else what was wrong."""
    body = {"model": MODEL, "max_tokens": 50, "stream": stream, "messages": [{"role": "user", "content": "How is it going?"}]}
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body),
                           {"content-type": "application/json", "authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return repr(error)
    if answer.status != 200:
        return f"{answer.status} {text[:300]}"
    if stream and not (text.rstrip().endswith("data: [DONE]") and text.count('"content"') >= 9):
        return f"a stream that was cut: {text[-300:]}"
    return None


class Load:
    """Callers that call again and again through nginx, each on its own connection; every other call is streamed."""

    def __init__(self, cluster, key):
        self.stopping = threading.Event()
        self.done, self.faults = collections.Counter(), []
        self.threads = [threading.Thread(target=self.work, args=(cluster, key, number)) for number in range(CALLERS)]
        for thread in self.threads:
            thread.start()

    def work(self, cluster, key, number):
        connection = cluster.connection()
        while not self.stopping.is_set():
            number += 1
            fault = call(connection, key, number % 2 == 0)
            self.done["stream" if number % 2 == 0 else "whole"] += 1
            if fault:
                self.faults.append(fault)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def calls_of(cluster, name):
    """How many calls a process has completed, as its page of metrics says."""
    page = request(cluster.nodes[name]["port"], "GET", "/metrics")[1]
    found = re.findall(r'^nexusroute_calls_total\{.*outcome="completed"\} (\d+)$', page, re.M)
    return sum(map(int, found))


def check(cluster):
    provider = Provider()
    key = cluster.set_up(provider)
    print("the walk through nginx is done: a provider, a price, a user, their mail, a payment and the word of it, a key, calls, a stream")
    load = Load(cluster, key)
    time.sleep(1)
    for name in ("node-1", "node-2", "node-1", "node-2"):
        before = time.monotonic()
        cluster.restart(name)
        print(f"{name} was restarted in {time.monotonic() - before:.1f} s under load")
        time.sleep(1)
    load.stop()
    total = sum(load.done.values())
    print(f"{total} calls during the rolling restart, {load.done['stream']} of them streamed, {len(load.faults)} failed")
    if load.faults:
        raise SystemExit("cluster: calls failed during the rolling restart:\n" + "\n".join(load.faults[:5]))

    cluster.send_canary(10)
    time.sleep(0.5)
    names = ("node-1", "node-2", "canary")
    before = {name: calls_of(cluster, name) for name in names}
    load = Load(cluster, key)
    until("300 calls are made", lambda: sum(load.done.values()) >= 300)
    load.stop()
    after = {name: calls_of(cluster, name) - before[name] for name in names}
    share = after["canary"] / max(1, sum(after.values()))
    print(f"with 10 % for the canary: {after}, which is {share:.1%}")
    if load.faults or not 0.03 <= share <= 0.2:
        raise SystemExit(f"cluster: the canary did not get its share, or calls failed: {load.faults[:3]}")
    if cluster.prometheus_port:
        query = "/api/v1/query?query=sum%20by%20(release)(nexusroute_calls_total%7Boutcome%3D%22completed%22%7D)"
        until("Prometheus tells the releases apart", lambda: {it["metric"]["release"] for it in json.loads(
            request(cluster.prometheus_port, "GET", query)[1])["data"]["result"]} == {"stable", "canary"})
        print("Prometheus tells canary and stable apart")
    until("all is reported and projected", lambda: all(
        re.search(r"^nexusroute_usage_unreported 0$", request(cluster.nodes[name]["port"], "GET", "/metrics")[1], re.M) for name in names)
        and re.search(r"^nexusroute_projections_lag 0$", request(cluster.nodes["projector-1"]["port"], "GET", "/metrics")[1], re.M))
    clean = {key: value for key, value in os.environ.items() if not key.startswith("NEXUSROUTE_")}
    verified = subprocess.run([binary(), "ledger", "verify"], env={**clean, **cluster.environment("projector-1")},
                              capture_output=True, text=True)
    if verified.returncode != 0:
        raise SystemExit(f"cluster: ledger verify:\n{verified.stdout}{verified.stderr}")
    print("ledger verify: " + verified.stdout.strip().splitlines()[-1])


def main():
    if sys.argv[1:] not in (["run"], ["check"]):
        sys.exit(__doc__)
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda *_: sys.exit(1))
    folder = tempfile.mkdtemp(prefix="nexusroute-cluster-")
    cluster, kept = Cluster(folder), False
    began = time.monotonic()
    try:
        cluster.start()
        print(f"the cluster is up after {time.monotonic() - began:.1f} s: https://localhost:{cluster.port} (certificate {cluster.tls})")
        if sys.argv[1] == "check":
            check(cluster)
        else:
            print("admin's password: of the cluster's admin")
            for name, node in cluster.nodes.items():
                print(f"{name} ({node['roles']}): http://127.0.0.1:{node['port']}/readyz, /metrics")
            if cluster.prometheus_port:
                print(f"Prometheus: http://127.0.0.1:{cluster.prometheus_port}")
            print(f"logs and data: {folder}\nCtrl-C stops it all")
            signal.pause()
    except KeyboardInterrupt:
        pass
    except BaseException:
        kept = sys.argv[1] == "check"
        raise
    finally:
        cluster.stop()
        if kept:
            print(f"logs and data are kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


main()
