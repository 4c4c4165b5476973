#!/usr/bin/env python3
"""Lists the public interface of the library, one item a line, from rustdoc's JSON.

    python3 .ci/public_api.py           # writes docs/public_api.txt
    python3 .ci/public_api.py --check   # fails if docs/public_api.txt is not what it would write

Rustdoc's JSON is unstable, so that another toolchain may need changes here; `.ci/rustdoc` lets a stable one write
it.
"""

import difflib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LISTING = ROOT / "docs" / "public_api.txt"


def rustdoc():
    command = ["cargo", "rustdoc", "--quiet", "--lib", "--all-features", "--"]
    command += ["-Z", "unstable-options", "--output-format", "json", "--cap-lints", "allow"]
    environment = {**os.environ, "RUSTDOC": str(ROOT / ".ci" / "rustdoc")}
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return json.loads((target / "doc" / "recurrent.json").read_text())


class Listing:
    def __init__(self, crate):
        self.index = crate["index"]
        self.lines = set()
        self.seen = set()
        self.paths = {}
        self.pending = []
        self.module(self.index[str(crate["root"])], "recurrent")
        # A type is listed under its shortest path.
        for item in self.pending:
            self.item(item, min(self.paths[item["id"]], key=lambda path: (path.count("::"), path)))

    def children(self, ids):
        found = (self.index.get(str(child)) for child in ids)
        return [child for child in found if child]

    def module(self, module, path):
        for child in self.children(module["inner"]["module"]["items"]):
            if child["visibility"] != "public" and "macro" not in child["inner"]:
                continue
            self.reach(child, path)

    def reach(self, item, path):
        kind, inner = next(iter(item["inner"].items()))
        if kind == "use":
            target = self.index.get(str(inner["id"]))
            if target is None:
                self.lines.add(f"use {inner['source']} as {path}::{inner['name']}")
            elif inner["is_glob"]:
                self.module(target, path)
            else:
                self.reach_as(target, f"{path}::{inner['name']}")
            return
        self.reach_as(item, f"{path}::{item['name']}")

    def reach_as(self, item, path):
        if path in self.seen:
            return
        self.seen.add(path)
        if "module" in item["inner"]:
            self.lines.add(f"mod {path}")
            self.module(item, path)
            return
        if path.startswith("recurrent::prelude::"):
            self.lines.add(f"use {path}")
            return
        if item["id"] not in self.paths:
            self.paths[item["id"]] = []
            self.pending.append(item)
        self.paths[item["id"]].append(path)

    def item(self, item, path):
        kind, inner = next(iter(item["inner"].items()))
        for other in self.paths[item["id"]]:
            if other != path:
                self.lines.add(f"use {other}")
        getattr(self, kind, lambda *_: self.lines.add(f"{kind} {path}"))(item, inner, path)

    def function(self, item, inner, path):
        self.lines.add(f"fn {path}{signature(inner)}")

    def struct(self, item, inner, path):
        self.lines.add(f"struct {path}{generics(inner['generics'])}")
        kind = inner["kind"]
        fields = kind["plain"]["fields"] if isinstance(kind, dict) and "plain" in kind else []
        if isinstance(kind, dict) and "tuple" in kind:
            fields = [field for field in kind["tuple"] if field is not None]
        for field in self.children(fields):
            if field["visibility"] == "public":
                self.lines.add(f"field {path}::{field['name']}: {render(field['inner']['struct_field'])}")
        self.impls(inner["impls"], path)

    def enum(self, item, inner, path):
        self.lines.add(f"enum {path}{generics(inner['generics'])}")
        for variant in self.children(inner["variants"]):
            kind = variant["inner"]["variant"]["kind"]
            shape = ""
            if isinstance(kind, dict) and "tuple" in kind:
                parts = self.children(kind["tuple"])
                shape = "(" + ", ".join(render(part["inner"]["struct_field"]) for part in parts) + ")"
            elif isinstance(kind, dict):
                parts = self.children(kind["struct"]["fields"])
                shape = " { " + ", ".join(
                    f"{part['name']}: {render(part['inner']['struct_field'])}" for part in parts) + " }"
            self.lines.add(f"variant {path}::{variant['name']}{shape}")
        self.impls(inner["impls"], path)

    def trait(self, item, inner, path):
        bounds = f": {joined_bounds(inner['bounds'])}" if inner["bounds"] else ""
        self.lines.add(f"trait {path}{generics(inner['generics'])}{bounds}")
        self.members(inner["items"], path)

    def type_alias(self, item, inner, path):
        self.lines.add(f"type {path}{generics(inner['generics'])} = {render(inner['type'])}")

    def constant(self, item, inner, path):
        self.lines.add(f"const {path}: {render(inner['type'])}")

    def members(self, ids, path):
        for member in self.children(ids):
            kind, inner = next(iter(member["inner"].items()))
            if kind == "function":
                self.lines.add(f"fn {path}::{member['name']}{signature(inner)}")
            elif kind == "assoc_const":
                self.lines.add(f"const {path}::{member['name']}: {render(inner['type'])}")
            elif kind == "assoc_type":
                self.lines.add(f"type {path}::{member['name']}")

    def impls(self, ids, path):
        for found in self.children(ids):
            inner = found["inner"]["impl"]
            if inner["is_synthetic"] or inner["blanket_impl"]:
                continue
            if inner["trait"]:
                parameters, where = both_generics(inner["generics"])
                self.lines.add(f"impl{parameters} {render_path(inner['trait'])} for {path}{where}")
            else:
                public = [child["id"] for child in self.children(inner["items"]) if child["visibility"] == "public"]
                self.members(public, path)


def arguments(args):
    if not args:
        return ""
    if "parenthesized" in args:
        inputs = ", ".join(map(render, args["parenthesized"]["inputs"]))
        output = args["parenthesized"]["output"]
        return f"({inputs})" + (f" -> {render(output)}" if output else "")
    parts = []
    for arg in args["angle_bracketed"]["args"]:
        kind, inner = next(iter(arg.items())) if isinstance(arg, dict) else (arg, None)
        parts.append({"lifetime": lambda: inner, "type": lambda: render(inner), "const": lambda: inner["expr"]}
                     .get(kind, lambda: "_")())
    for constraint in args["angle_bracketed"]["constraints"]:
        kind, inner = next(iter(constraint["binding"].items()))
        if kind == "equality":
            parts.append(f"{constraint['name']} = {render(inner['type']) if 'type' in inner else inner['constant']['expr']}")
        else:
            parts.append(f"{constraint['name']}: {joined_bounds(inner)}")
    return f"<{', '.join(parts)}>" if parts else ""


def render_path(path):
    return path["path"].split("::")[-1] + arguments(path["args"])


def joined_bounds(bounds):
    parts = []
    for bound in bounds:
        kind, inner = next(iter(bound.items()))
        if kind == "trait_bound":
            maybe = "?" if inner["modifier"] == "maybe" else ""
            parts.append(maybe + render_path(inner["trait"]))
        elif kind == "outlives":
            parts.append(inner)
        else:
            parts.append("use<…>")
    return " + ".join(parts)


def render(of):
    if isinstance(of, str):
        return "_"
    kind, inner = next(iter(of.items()))
    if kind in ("generic", "primitive"):
        return inner
    if kind == "resolved_path":
        return render_path(inner)
    if kind == "borrowed_ref":
        lifetime = f"{inner['lifetime']} " if inner["lifetime"] else ""
        return f"&{lifetime}{'mut ' if inner['is_mutable'] else ''}{render(inner['type'])}"
    if kind == "tuple":
        return f"({', '.join(map(render, inner))})"
    if kind == "slice":
        return f"[{render(inner)}]"
    if kind == "array":
        return f"[{render(inner['type'])}; {inner['len']}]"
    if kind == "impl_trait":
        return f"impl {joined_bounds(inner)}"
    if kind == "dyn_trait":
        traits = " + ".join(render_path(part["trait"]) for part in inner["traits"])
        return f"dyn {traits}" + (f" + {inner['lifetime']}" if inner["lifetime"] else "")
    if kind == "qualified_path":
        trait = inner["trait"]
        of_trait = f" as {render_path(trait)}" if trait and trait["path"] else ""
        whole = render(inner["self_type"])
        return f"{f'<{whole}{of_trait}>' if of_trait else whole}::{inner['name']}"
    if kind == "function_pointer":
        inputs = ", ".join(render(part) for _, part in inner["sig"]["inputs"])
        output = inner["sig"]["output"]
        return f"fn({inputs})" + (f" -> {render(output)}" if output else "")
    raise SystemExit(f"unknown kind of type: {kind}")


def generics(of):
    parameters, where = both_generics(of)
    return parameters + where


def both_generics(of):
    """Returns the parameters in angle brackets, and the clause of their bounds."""
    parts = []
    for param in of["params"]:
        kind, inner = next(iter(param["kind"].items()))
        if kind == "type":
            if inner["is_synthetic"]:
                continue
            bounds = f": {joined_bounds(inner['bounds'])}" if inner["bounds"] else ""
            parts.append(param["name"] + bounds)
        elif kind == "const":
            parts.append(f"const {param['name']}: {render(inner['type'])}")
        else:
            parts.append(param["name"])
    text = f"<{', '.join(parts)}>" if parts else ""
    wheres = []
    for predicate in of["where_predicates"]:
        kind, inner = next(iter(predicate.items()))
        if kind == "bound_predicate":
            wheres.append(f"{render(inner['type'])}: {joined_bounds(inner['bounds'])}")
    return text, f" where {', '.join(wheres)}" if wheres else ""


def signature(function):
    inputs = []
    for name, of in function["sig"]["inputs"]:
        if name == "self":
            whole = render(of)
            inputs.append({"Self": "self", "&Self": "&self", "&mut Self": "&mut self"}.get(whole, f"self: {whole}"))
        else:
            inputs.append(f"{name}: {render(of)}")
    output = function["sig"]["output"]
    result = f" -> {render(output)}" if output else ""
    parameters, where = both_generics(function["generics"])
    return f"{parameters}({', '.join(inputs)}){result}{where}"


def main():
    text = "\n".join(sorted(Listing(rustdoc()).lines)) + "\n"
    if sys.argv[1:] == ["--check"]:
        committed = LISTING.read_text() if LISTING.exists() else ""
        changes = difflib.unified_diff(committed.splitlines(), text.splitlines(), "docs/public_api.txt", "now", n=0, lineterm="")
        changes = list(changes)
        if changes:
            print("\n".join(changes))
            raise SystemExit("the public interface changed: run python3 .ci/public_api.py")
        return
    LISTING.write_text(text)


if __name__ == "__main__":
    main()
