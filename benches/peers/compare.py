"""Reads the JSON lines of run.py: prints Markdown tables, and holds requirements.

    python compare.py RESULTS.jsonl [--table] [--require KEY=VALUE ...]

KEY is SUBJECT[.FILTER...][.STATISTIC], in lower case but for the section letters.

SUBJECT    torch, onnxruntime (or ort), candle, burn, burn_flex, rust_lstm, numpy
                      the ratio peer/ours of each case: the median over the rounds
           any_rust   the same, every Rust peer's rows together
           best       the ratio to the fastest of all peers in the case
           peak       our fraction of the FMA peak
           scaling    our time on 1 thread over our time on 2
FILTER     lstm gru rnn | infer train step char_lm | f32 f64 | ragged padded | uni bi |
           stacked (2 layers or more) | batched (batch >= 32) |
           large (hidden >= 256 and batch >= 32) | t1 t2 (threads) | A B C D E F G (section)
           All filters must hold; `gru+rnn` holds where one of the two does.
STATISTIC  each (the smallest value; the default) or geomean

A requirement holds where its statistic is at least VALUE. It also fails where it has no rows,
and where a case has the subject's time but none of ours. Exit status: 1 if one failed.
"""

import argparse
import json
import math
import sys

RUST = ("candle", "burn", "burn_flex", "rust_lstm")
PEERS = ("torch", "onnxruntime", *RUST, "numpy")
NOISY = 0.1  # cores that other programs used: the case is marked in the table
ALIASES = {"ort": "onnxruntime"}

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
for _section in "ABCDEFG":
    FILTERS[_section] = lambda r, section=_section: r["section"] == section


def geomean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def read(path):
    with open(path) as file:
        lines = [json.loads(line) for line in file if line.strip()]
    table = {}  # (threads, case) -> {worker: row}
    for row in lines:
        if row["kind"] == "result":
            table.setdefault((row["threads"], row["name"]), {})[row["worker"]] = row
    return [line for line in lines if line["kind"] != "result"], table


def ok(row):
    return row is not None and row["status"] == "ok"


class BadKey(Exception):
    pass


def parse(text):
    key, equals, value = text.partition("=")
    try:
        least = float(value)
    except ValueError:
        equals = ""
    if not equals:
        raise BadKey(f"{text}: not KEY=NUMBER")
    subject, *words = key.split(".")
    subject = ALIASES.get(subject, subject)
    if subject not in (*PEERS, "any_rust", "best", "peak", "scaling"):
        raise BadKey(f"{text}: no subject {subject}")
    statistic = words.pop() if words and words[-1] in ("each", "geomean") else "each"
    for word in words:
        for part in word.split("+"):
            if part not in FILTERS:
                raise BadKey(f"{text}: no filter {part}")
    return subject, words, statistic, least


def values_of(subject, words, table):
    """([(label, value)], [label of each case where ours is missing])."""
    found, missing = [], []
    for (threads, name), rows in table.items():
        row = next(iter(rows.values()))
        if not all(any(FILTERS[part](row) for part in word.split("+")) for word in words):
            continue
        ours, label = rows.get("ours"), f"{name} on {threads}t"
        if subject == "peak":
            if ok(ours) and "peak_fraction" in ours:
                found.append((label, ours["peak_fraction"]))
            else:
                missing.append(label)
        elif subject == "scaling":
            other = table.get((2, name), {}).get("ours")
            if threads == 1 and ok(ours) and ok(other):
                found.append((name, ours["median"] / other["median"]))
            elif threads == 1:
                missing.append(name)
        else:
            peers = {"any_rust": RUST, "best": PEERS}.get(subject, (subject,))
            timed = [rows[peer] for peer in peers if ok(rows.get(peer))]
            if timed and not ok(ours):
                missing.append(label)
            elif subject == "best" and timed:
                found.append((label, min(peer["ratio"] for peer in timed)))
            else:
                found += [(f"{label} by {peer['worker']}", peer["ratio"]) for peer in timed]
    return found, missing


def hold(text, table):
    """True where the requirement holds; prints one line either way."""
    subject, words, statistic, least = parse(text)
    found, missing = values_of(subject, words, table)
    problems = [f"no time of ours: {', '.join(missing)}"] if missing else []
    if not found:
        problems.append("no rows")
        shown = "-"
    elif statistic == "geomean":
        value = geomean([value for _, value in found])
        shown = f"{value:.3f}"
        if not value >= least:
            problems.append(f"geometric mean of {len(found)} below {least}")
    else:
        shown = f"{min(value for _, value in found):.3f}"
        low = sorted((value, label) for label, value in found if not value >= least)
        if low:
            listed = "; ".join(f"{label} {value:.3f}" for value, label in low)
            problems.append(f"{len(low)} of {len(found)} below: {listed}")
    verdict = "FAILED" if problems else "holds "
    print(f"{verdict} {text} (is {shown}, {len(found)} rows)" + "".join(f"\n         {p}" for p in problems))
    return not problems


def cell(row, with_peak):
    if row is None:
        return ""
    if row["status"] == "unsupported":
        return "–"
    if row["status"] != "ok":
        return row["status"].upper()
    text = f"{row['median'] * 1e3:.4g}"
    if "ratio" in row:
        return f"{text} ({row['ratio']:.2f}×)"
    return text + (f" ({row['peak_fraction']:.0%})" if with_peak and "peak_fraction" in row else "")


def print_tables(facts, table):
    for threads in sorted({threads for threads, _ in table}):
        machine = next((f for f in facts if f["kind"] == "machine" and f["threads"] == threads), {})
        after = next((f for f in facts if f["kind"] == "machine_after" and f["threads"] == threads), {})
        cases = {name: rows for (count, name), rows in table.items() if count == threads}
        workers = [w for w in ("ours", *PEERS) if any(w in rows for rows in cases.values())]
        versions = {w: next(r[w]["version"] for r in cases.values() if w in r) for w in workers}
        print(f"## {threads} thread{'s' if threads > 1 else ''}\n")
        if machine:
            print(f"{machine['cpu']}, {machine['cores']} cores, {machine['date']}, {machine['rounds']} rounds. "
                  f"FMA peak per core (GF/s): before {machine['peak_gflops_per_core']}, "
                  f"after {after.get('peak_gflops_per_core')}.")
        print("Versions: " + ", ".join(f"{w} {v}" for w, v in versions.items()) + ".\n")
        if "ours" in workers:
            print("Milliseconds; in brackets ours: % of the FMA peak, peers: their time over ours.\n")
        else:
            print("Milliseconds; in brackets % of the FMA peak.\n")
        noisy = [n for n, rows in cases.items() if any(r.get("foreign_cores", 0) > NOISY for r in rows.values())]
        if noisy:
            print(f"*: other programs kept more than {NOISY} cores busy meanwhile ({len(noisy)} of {len(cases)} cases).\n")
        print("| case | " + " | ".join(workers) + " |")
        print("|---|" + "---:|" * len(workers))
        for name, rows in cases.items():
            mark = "*" if name in noisy else ""
            print(f"| {name}{mark} | " + " | ".join(cell(rows.get(w), True) for w in workers) + " |")
        print()
        if "ours" in workers:
            print("Geometric mean of the ratios:\n")
            modes = ("infer", "train", "step", "char_lm")
            print("| mode | " + " | ".join(workers[1:]) + " |\n|---|" + "---:|" * (len(workers) - 1))
            for mode in modes:
                means = []
                for worker in workers[1:]:
                    ratios = [
                        rows[worker]["ratio"] for rows in cases.values()
                        if ok(rows.get(worker)) and rows[worker]["mode"] == mode and "ratio" in rows[worker]
                    ]
                    means.append(f"{geomean(ratios):.2f}× of {len(ratios)}" if ratios else "")
                if any(means):
                    print(f"| {mode} | " + " | ".join(means) + " |")
            print()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--require", nargs="+", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    facts, table = read(arguments.results)
    if not table:
        sys.exit("no results in the file")
    if arguments.table:
        print_tables(facts, table)
    try:
        held = [hold(text, table) for text in arguments.require]
    except BadKey as problem:
        sys.exit(str(problem))
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
