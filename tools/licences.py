#!/usr/bin/env python3
"""Checks what the binary is made of, offline, from `cargo metadata`: licences, banned crates, sources, duplicates.

A dependency under a licence that is not listed, from anywhere but the registry or this workspace, or with a name that
the design rules out, fails. Two versions of one crate are only reported: the tree often cannot help it.
"""

import collections
import json
import re
import subprocess
import sys

# Licences under which a dependency may be linked into an Apache-2.0 binary.
ALLOWED = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CDLA-Permissive-2.0", "ISC", "MIT", "MIT-0",
    "Unicode-3.0", "Unlicense", "Zlib",
}
EXCEPTIONS = {"LLVM-exception"}

# Ring is the one cryptography behind TLS: with a second provider linked in, rustls chooses none and panics.
BANNED = {"aws-lc-rs": "TLS runs on ring", "native-tls": "TLS runs on ring", "openssl-sys": "TLS runs on ring"}

TOKEN = re.compile(r"\(|\)|[A-Za-z0-9.+:-]+")


def allowed(expression):
    """Does an SPDX expression leave a choice that is allowed? OR binds weakest; the old `A/B` means A OR B."""
    tokens = TOKEN.findall(expression.replace("/", " OR "))

    def alternatives(at):
        good, at = parts(at)
        while at < len(tokens) and tokens[at] == "OR":
            other, at = parts(at + 1)
            good = good or other
        return good, at

    def parts(at):
        good, at = one(at)
        while at < len(tokens) and tokens[at] == "AND":
            other, at = one(at + 1)
            good = good and other
        return good, at

    def one(at):
        if tokens[at] == "(":
            good, at = alternatives(at + 1)
            return good, at + 1  # past the closing bracket
        good, at = tokens[at] in ALLOWED, at + 1
        if at < len(tokens) and tokens[at] == "WITH":
            good, at = good and tokens[at + 1] in EXCEPTIONS, at + 2
        return good, at

    good, at = alternatives(0)
    return good and at == len(tokens)


def is_built(name, version, host):
    """Is it in any build for this platform? `cargo metadata` also lists what only other platforms' features ask for."""
    command = ["cargo", "tree", "--locked", "--workspace", "--target", host, "--edges", "all", "--invert", f"{name}@{version}"]
    return bool(subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).strip())


def main():
    for expression, expected in [
        ("MIT OR GPL-3.0", True), ("MIT AND GPL-3.0", False), ("MIT/Apache-2.0", True),
        ("(MIT OR GPL-3.0) AND ISC", True), ("Apache-2.0 WITH LLVM-exception", True), ("GPL-3.0 OR AGPL-3.0", False),
    ]:
        assert allowed(expression) == expected, expression

    # Only what is built for this platform: cargo would fetch the crates of all the others first.
    host = re.search(r"^host: (.*)$", subprocess.check_output(["rustc", "-vV"], text=True), re.M)[1]
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", host]
    listed = json.loads(subprocess.check_output(command))
    members = set(listed["workspace_members"])
    faults, versions = [], collections.defaultdict(set)
    for package in listed["packages"]:
        name = f"{package['name']} {package['version']}"
        versions[package["name"]].add(package["version"])
        licence = package["license"]
        if not licence:
            faults.append(f"{name} states no licence")
        elif not allowed(licence) and is_built(package["name"], package["version"], host):
            faults.append(f"{name} is under {licence}, which is not on the list")
        if package["name"] in BANNED:
            faults.append(f"{name} must not be used: {BANNED[package['name']]}")
        if package["id"] not in members and not (package["source"] or "").startswith("registry+"):
            faults.append(f"{name} comes from {package['source'] or 'a folder outside the workspace'}")
    for fault in faults:
        print(fault, file=sys.stderr)
    twice = sorted(name for name, found in versions.items() if len(found) > 1)
    print(f"licences: {len(listed['packages'])} packages checked, {len(faults)} faults, {len(twice)} crates in several versions")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
