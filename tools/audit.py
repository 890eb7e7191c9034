#!/usr/bin/env python3
"""What must not be in the tree, and how containers must run. Offline; `--online` asks registries about known holes as well.

    tools/audit.py            secrets in tracked files, one TLS stack in the lock file
    tools/audit.py manifests  compose and Kubernetes: our containers run as nobody, read-only, without capabilities
    tools/audit.py online     npm audit of the console, cargo audit where it is installed

A string that looks like a secret and is none stands in KNOWN, with the reason.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent

# What secrets look like. Each is tried on examples below.
SECRETS = {
    "private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    "API key of this gateway or of OpenAI": re.compile(r"\bsk-(?:proj-|ant-[a-z0-9]+-)?[A-Za-z0-9_-]{40,}"),
    "Stripe key": re.compile(r"\b(?:sk|rk)_live_[A-Za-z0-9]{16,}"),
    "webhook secret": re.compile(r"\bwhsec_[A-Za-z0-9+/]{24,}"),
    "AWS key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,})"),
    "Google key": re.compile(r"\bAIza[A-Za-z0-9_-]{35}"),
    "Slack token": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{20,}"),
    "npm token": re.compile(r"\bnpm_[A-Za-z0-9]{36}"),
    "password in an address": re.compile(r"\b[a-z]+://[^\s:/@'\"`{}<>$%]+:(?!\$|<|\{|%|…|\*)[^\s:/@'\"`{}<>$%]{8,}@(?!localhost|127\.0\.0\.1|\{)[a-z0-9.-]+\.[a-z]{2,}"),
}
# Files whose finds are none, and why.
KNOWN = {
    "api/testdata/payments/": "keys made for test vectors, of no account anywhere",
    "tests/src/channels/": "keys of the payment simulators",
}
EXAMPLES = {
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "API key of this gateway or of OpenAI": "sk-" + "a1B2" * 12,
    "Stripe key": "sk_live_" + "a1B2" * 6,
    "webhook secret": "whsec_" + "a1B2" * 8,
    "AWS key": "AKIA" + "A1B2" * 4,
    "GitHub token": "ghp_" + "a1B2" * 9,
    "Google key": "AIza" + "a1B2" * 8 + "abc",
    "Slack token": "xoxb-" + "1234567890-" * 2 + "ab",
    "npm token": "npm_" + "a1B2" * 9,
    "password in an address": "postgres://user:" + "hunter2hunter2" + "@db.example.com/x",
}
# Any of these beside ring is a second TLS stack, or a second provider of cryptography for it.
BANNED = {"aws-lc-rs", "aws-lc-sys", "boring", "boring-sys", "native-tls", "openssl", "openssl-sys", "s2n-tls", "schannel-sys"}


def secrets_in(text):
    """(kind, line number, the find) for whatever looks like a secret."""
    for kind, pattern in SECRETS.items():
        for found in pattern.finditer(text):
            yield kind, text.count("\n", 0, found.start()) + 1, found.group()


def looks_made_up(find):
    """`sk-xxxx…`, `sk-aaaa…`: nobody's secret has so few different characters."""
    return len(set(find[3:])) < 10 and not find.startswith("-----")


def tree():
    for kind, example in EXAMPLES.items():
        found = {it[0] for it in secrets_in(f"x = '{example}'")}
        assert kind in found, f"{kind} is not found in {example}"
    faults = []
    names = subprocess.check_output(["git", "ls-files", "-z"], cwd=REPOSITORY, text=True).split("\0")
    names = [it for it in names if it and (REPOSITORY / it).is_file()]
    for name in names:
        if any(name.startswith(prefix) for prefix in KNOWN):
            continue
        try:
            text = (REPOSITORY / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for kind, line, find in secrets_in(text):
            if not looks_made_up(find):
                faults.append(f"{name}:{line}: a {kind}: {find[:12]}…")
        if re.fullmatch(r"(.*/)?(\.env|id_rsa|id_ed25519|master\.key|.*\.p12|.*\.pfx)", name):
            faults.append(f"{name}: a file that holds secrets must not be tracked")
    lock = (REPOSITORY / "Cargo.lock").read_text()
    for package in re.findall(r'^name = "([^"]+)"', lock, re.M):
        if package in BANNED:
            faults.append(f"Cargo.lock: {package}: TLS is rustls on ring, and nothing else")
    sources = set(re.findall(r'^source = "([^"]+)"', lock, re.M)) - {"registry+https://github.com/rust-lang/crates.io-index"}
    faults += [f"Cargo.lock: a package comes from {it}" for it in sources]
    return faults, f"{len(names)} files hold no secret, one TLS stack, one registry"


def manifests(compose):
    """`compose`: the files, as `docker-compose config` prints them. Needs PyYAML."""
    import yaml

    faults, seen = [], 0
    dockerfile = (REPOSITORY / "deploy/Dockerfile").read_text()
    backup = (REPOSITORY / "deploy/backup/Dockerfile").read_text()
    for name, text in (("Dockerfile", dockerfile), ("backup/Dockerfile", backup)):
        users = re.findall(r"^USER (\S+)", text, re.M)
        if not users or users[-1] != "10001:10001":
            faults.append(f"deploy/{name} does not end as the user 10001")
    for path in compose:
        for name, service in yaml.safe_load(pathlib.Path(path).read_text())["services"].items():
            where = f"{path.split('/')[-1]}: {name}"
            if service.get("privileged") or any("docker.sock" in str(it) for it in service.get("volumes", [])):
                faults.append(f"{where} could take the whole host")
            if "no-new-privileges:true" not in service.get("security_opt", []):
                faults.append(f"{where} may gain privileges")
            if not service["image"].startswith("nexusroute"):
                continue
            seen += 1
            if not service.get("read_only") or service.get("cap_drop") != ["ALL"] or service.get("cap_add"):
                faults.append(f"{where} is not read-only without capabilities")
            if str(service.get("user", "10001")).split(":")[0] in ("0", "root"):
                faults.append(f"{where} runs as root")
    for path in sorted((REPOSITORY / "deploy/kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            spec = (document or {}).get("spec", {})
            spec = spec.get("jobTemplate", {}).get("spec", spec)
            pod = spec.get("template", {}).get("spec")
            if not pod:
                continue
            where, of_pod = f"{path.name}: {document['metadata']['name']}", pod.get("securityContext", {})
            if not of_pod.get("runAsNonRoot"):
                faults.append(f"{where} may run as root")
            for container in pod.get("initContainers", []) + pod["containers"]:
                seen += 1
                context = container.get("securityContext", {})
                if (context.get("allowPrivilegeEscalation") is not False or not context.get("readOnlyRootFilesystem")
                        or context.get("capabilities", {}).get("drop") != ["ALL"]):
                    faults.append(f"{where}: {container['name']} is not read-only without capabilities")
    if seen < 10:
        faults.append(f"only {seen} containers were looked at")
    return faults, f"{seen} containers run as nobody, read-only, without capabilities"


def online():
    faults, said = [], []
    done = subprocess.run(["npm", "audit", "--omit=dev", "--json"], cwd=REPOSITORY / "web", capture_output=True, text=True)
    try:
        answer = json.loads(done.stdout)
        counts = answer["metadata"]["vulnerabilities"]
        said.append(f"npm audit: {counts['total']} known holes in what browsers get")
        faults += [f"npm: {name}: {it['severity']}" for name, it in answer["vulnerabilities"].items()
                   if it["severity"] in ("high", "critical")]
    except (ValueError, KeyError):
        said.append("npm audit: the registry did not answer")
    if shutil.which("cargo-audit"):
        done = subprocess.run(["cargo", "audit", "--deny", "warnings"], cwd=REPOSITORY)
        faults += ["cargo audit"] if done.returncode else []
        said.append("cargo audit was asked")
    else:
        said.append("cargo audit is not installed (cargo install cargo-audit): crates were not asked about")
    return faults, "; ".join(said)


def main():
    match sys.argv[1:]:
        case []:
            faults, said = tree()
        case ["manifests", *compose]:
            faults, said = manifests(compose)
        case ["online"]:
            faults, said = online()
        case _:
            sys.exit(__doc__)
    for fault in faults:
        print(f"audit: {fault}", file=sys.stderr)
    print(f"audit: {said}" if not faults else f"audit: {len(faults)} faults")
    return 1 if faults else 0


sys.exit(main())
