"""Checks requirements on the results of run.py. See README.md.

    python compare.py RESULTS.jsonl --require KEY=VALUE ...

KEY is SUBJECT[.FILTER...][.STATISTIC], in lower case but for the section letters.

SUBJECT    torch, onnxruntime (or ort), openvino, jax, rtneural, nexus, tract, rten, candle, burn,
           burn_flex, rust_lstm, numpy
                      the ratio peer/ours of each case: the median over the rounds.
                      `torch+ort`: the rows of both
           any_rust   the same for candle, burn, burn_flex and rust_lstm together
           best       the ratio to the fastest of all peers in the case
           peak       our fraction of the FMA peak
           scaling    our time on 1 thread over our time on 2
           of_padded  our time of a ragged case over our time of its padded twin; VALUE is an upper
                      bound, while for other subjects it is a lower bound
FILTER     lstm gru rnn | infer train step char_lm | f32 f64 | ragged padded | uni bi |
           stacked (2 layers or more) | batched (batch >= 32) | h128 (hidden = 128; any number) |
           large (hidden >= 256 and batch >= 32) | t1 t2 (threads) | A B C D E F G H I (section)
           A case must pass all filters; it passes `gru+rnn` if it passes either.
STATISTIC  each (the smallest value, the largest of of_padded; the default) or geomean

A requirement also fails if it has no rows, or if a case has the subject's time but not ours. The exit
status is 1 if a requirement fails.
"""

import argparse
import json
import math
import re
import sys
from dataclasses import dataclass

RUST = ("candle", "burn", "burn_flex", "rust_lstm")
INFERENCE_CRATES = ("nexus", "tract", "rten")
PEERS = ("torch", "onnxruntime", "openvino", "jax", "rtneural", *INFERENCE_CRATES, *RUST, "numpy")
ALIASES = {"ort": "onnxruntime"}
GROUPS = {"any_rust": RUST, "best": PEERS}
OWN = ("peak", "scaling", "of_padded")
AT_MOST = ("of_padded",)

FILTERS = {
    "lstm": lambda r: r["cell"] == "lstm",
    "gru": lambda r: r["cell"] == "gru",
    "rnn": lambda r: r["cell"] == "rnn_tanh",
    "ragged": lambda r: r["ragged"],
    "padded": lambda r: not r["ragged"],
    "bi": lambda r: r["bidirectional"],
    "uni": lambda r: not r["bidirectional"],
    "stacked": lambda r: r["num_layers"] > 1,
    "batched": lambda r: r["batch"] >= 32,
    "large": lambda r: r["hidden_size"] >= 256 and r["batch"] >= 32,
    "t1": lambda r: r["threads"] == 1,
    "t2": lambda r: r["threads"] == 2,
}
for _mode in ("infer", "train", "step", "char_lm"):
    FILTERS[_mode] = lambda r, mode=_mode: r["mode"] == mode
for _dtype in ("f32", "f64"):
    FILTERS[_dtype] = lambda r, dtype=_dtype: r["dtype"] == dtype
for _section in "ABCDEFGHI":
    FILTERS[_section] = lambda r, section=_section: r["section"] == section


class BadKey(Exception):
    pass


@dataclass
class Results:
    """The results of a run: the lines about the machine, and {(threads, case): {worker: row}}."""

    facts: list
    table: dict

    @classmethod
    def read(cls, path):
        with open(path) as file:
            lines = [json.loads(line) for line in file if line.strip()]
        table = {}
        for row in lines:
            if row["kind"] == "result":
                table.setdefault((row["threads"], row["name"]), {})[row["worker"]] = row
        return cls([line for line in lines if line["kind"] != "result"], table)

    def ours(self, threads, name):
        """Returns our row of a case, or None if it has no time."""
        row = self.table.get((threads, name), {}).get("ours")
        return row if ok(row) else None


def ok(row):
    return row is not None and row["status"] == "ok"


def geomean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def passes(word, row):
    """Returns whether the case of `row` passes one of the filters in `word`, joined by +."""
    return any(
        row["hidden_size"] == int(part[1:]) if re.fullmatch(r"h\d+", part) else FILTERS[part](row)
        for part in word.split("+")
    )


@dataclass
class Requirement:
    subject: str
    filters: list
    statistic: str
    bound: float

    @classmethod
    def parse(cls, text):
        key, equals, value = text.partition("=")
        try:
            bound = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise BadKey(f"{text}: not KEY=NUMBER")
        subject, *words = key.split(".")
        subject = "+".join(ALIASES.get(part, part) for part in subject.split("+"))
        if subject not in (*GROUPS, *OWN) and not set(subject.split("+")) <= set(PEERS):
            raise BadKey(f"{text}: no subject {subject}")
        statistic = words.pop() if words and words[-1] in ("each", "geomean") else "each"
        for part in "+".join(words).split("+") if words else []:
            if part not in FILTERS and not re.fullmatch(r"h\d+", part):
                raise BadKey(f"{text}: no filter {part}")
        return cls(subject, words, statistic, bound)

    @property
    def at_most(self):
        return self.subject in AT_MOST

    def good(self, value):
        return value <= self.bound if self.at_most else value >= self.bound

    def values(self, results):
        """Returns [(value, label)], worst first, and the labels of the cases where ours is missing."""
        found, missing = [], []
        for (threads, name), rows in results.table.items():
            if all(passes(word, next(iter(rows.values()))) for word in self.filters):
                values, without = self.of_case(results, threads, name, rows)
                found += values
                missing += without
        return sorted(found, reverse=self.at_most), missing

    def of_case(self, results, threads, name, rows):
        ours, label = rows.get("ours"), f"{name} on {threads}t"
        if self.subject == "peak":
            if ok(ours) and "peak_fraction" in ours:
                return [(ours["peak_fraction"], label)], []
            return [], [label]
        if self.subject == "scaling":
            other = results.ours(2, name)
            if threads != 1 or (2, name) not in results.table:
                return [], []
            return ([(ours["median"] / other["median"], name)], []) if ok(ours) and other else ([], [name])
        if self.subject == "of_padded":
            if not name.endswith("-ragged"):
                return [], []
            twin = results.ours(threads, name.removesuffix("-ragged"))
            return ([(ours["median"] / twin["median"], label)], []) if ok(ours) and twin else ([], [label])
        peers = GROUPS.get(self.subject, self.subject.split("+"))
        timed = [rows[peer] for peer in peers if ok(rows.get(peer))]
        if timed and not ok(ours):
            return [], [label]
        if self.subject == "best" and timed:
            return [min((peer["ratio"], f"{label} by {peer['worker']}") for peer in timed)], []
        return [(peer["ratio"], f"{label} by {peer['worker']}") for peer in timed], []


def hold(text, results):
    """Prints a line about the requirement and returns whether it is met."""
    requirement = Requirement.parse(text)
    found, missing = requirement.values(results)
    problems = [f"no time of ours: {', '.join(missing)}"] if missing else []
    shown = "-"
    bound = f"{'above' if requirement.at_most else 'below'} {requirement.bound}"
    if not found:
        problems.append("no rows")
    elif requirement.statistic == "geomean":
        value = geomean([value for value, _ in found])
        shown = f"{value:.3f}"
        if not requirement.good(value):
            problems.append(f"geometric mean of {len(found)} {bound}")
    else:
        shown = f"{found[0][0]:.3f}"
        bad = [f"{label} {value:.3f}" for value, label in found if not requirement.good(value)]
        if bad:
            problems.append(f"{len(bad)} of {len(found)} {bound}: {'; '.join(bad)}")
    verdict = "FAILED" if problems else "holds "
    print(f"{verdict} {text} (is {shown}, {len(found)} rows)" + "".join(f"\n         {p}" for p in problems))
    return not problems


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results")
    parser.add_argument("--require", nargs="+", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    results = Results.read(arguments.results)
    if not results.table:
        sys.exit("no results in the file")
    try:
        held = [hold(text, results) for text in arguments.require]
    except BadKey as problem:
        sys.exit(str(problem))
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
