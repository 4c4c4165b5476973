#!/usr/bin/env python3
"""Checks the dependencies of the library against deny.toml, as `cargo deny check licenses bans sources` does.

It reads `cargo metadata`, needs no other tool and takes a second. `.ci/rare` runs cargo-deny itself.
"""

import json
import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"


def satisfied(expression, allowed):
    """Returns whether an SPDX expression holds if the allowed licences do."""
    # An exception permits more than its licence.
    expression = re.sub(r"(\S+) WITH \S+", r"\1", expression.replace("/", " OR "))
    operators = {"AND": "and", "OR": "or", "(": "(", ")": ")"}
    tokens = re.findall(r"[()]|[^\s()]+", expression)
    return eval(" ".join(operators.get(token, str(token in allowed)) for token in tokens))


def main():
    deny = tomllib.loads((ROOT / "deny.toml").read_text())
    command = ["cargo", "metadata", "--format-version", "1", "--all-features"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = next(id for id, package in packages.items() if package["name"] == "recurrent")
    reached, open_ids = set(), [root]
    while open_ids:
        id = open_ids.pop()
        if id in reached:
            continue
        reached.add(id)
        for dependency in nodes[id]["deps"]:
            if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                open_ids.append(dependency["pkg"])
    problems, versions = [], {}
    allowed = set(deny["licenses"]["allow"])
    for id in sorted(reached - {root}):
        package = packages[id]
        name = f"{package['name']} {package['version']}"
        versions.setdefault(package["name"], []).append(package["version"])
        if not package["license"] or not satisfied(package["license"], allowed):
            problems.append(f"{name}: licence {package['license']}")
        if package["source"] != REGISTRY:
            problems.append(f"{name}: from {package['source']}")
    skipped = {skip["crate"] for skip in deny["bans"]["skip"]}
    for name, found in versions.items():
        if len(found) > 1 and not any(f"{name}@{version}" in skipped for version in found):
            problems.append(f"{name}: versions {', '.join(found)}")
    print(f"{len(reached) - 1} crates")
    if problems:
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    main()
