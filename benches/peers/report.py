"""Makes tables of the results of a run, records of runs, and the README's section on speed.

    python3 report.py RESULTS.jsonl            prints the tables
    python3 report.py RESULTS.jsonl --record   also keeps them in ../record/<cpu>/<date>.{jsonl,md}
    python3 report.py --readme                 rewrites the section from the newest record
    python3 report.py --check                  fails where the section is not what --readme writes

Needs only the standard library.
"""

import argparse
import re
import shutil
import sys
from pathlib import Path

import grid
from compare import INFERENCE_CRATES, PEERS, RUST, Requirement, Results, geomean, ok, passes

HERE = Path(__file__).resolve().parent
RECORDS = HERE.parent / "record"
README = HERE.parent.parent / "README.md"
BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"
NOISY = 0.1  # cases during which other programs used more cores than this are marked

NAMES = {
    "torch": "PyTorch", "openvino": "OpenVINO", "candle": "candle", "burn": "burn (ndarray)", "burn_flex": "burn (flex)",
    "rust_lstm": "rust-lstm", "jax": "JAX", "rtneural": "RTNeural", "nexus": "nexus-inference",
}

INSTRUCTIONS = {"Avx512": "AVX-512", "Avx2": "AVX2", "Sse4_2": "SSE4.2", "Sse2": "SSE2", "Neon": "NEON"}

# The title, the key of compare.py without statistic and value, and the bounds for each case and for
# the geometric mean.
REQUIREMENTS = (
    ("LSTM inference, onnxruntime", "ort.lstm.infer.f32.padded.uni", 1.0, 1.3),
    ("LSTM inference, PyTorch", "torch.lstm.infer.f32.padded.uni", 1.0, 1.6),
    ("LSTM training, PyTorch", "torch.lstm.train.f32.padded.uni", 1.15, 1.7),
    ("GRU and RNN inference, onnxruntime", "ort.gru+rnn.infer.f32.padded", 1.0, 1.2),
    ("GRU and RNN training, PyTorch", "torch.gru+rnn.train.f32.padded", 1.5, 2.0),
    ("ragged inference, PyTorch packed and onnxruntime", "torch+ort.ragged.infer", 1.8, 2.3),
    ("ragged training, PyTorch packed", "torch.ragged.train", 3.0, 4.0),
    ("ragged, our time over our own padded", "of_padded", 0.6, None),
    ("2 layers in both directions, best peer", "best.stacked.bi", 1.05, 1.4),
    ("f64 inference and training, PyTorch", "torch.f64.infer+train", 1.2, 2.0),
    ("streaming step H = 32, onnxruntime", "ort.step.h32", 8.0, None),
    ("streaming step H = 128, onnxruntime", "ort.step.h128", 1.8, None),
    ("streaming step H = 256, onnxruntime", "ort.step.h256", 1.1, None),
    ("streaming step, onnxruntime", "ort.step", None, 2.5),
    ("streaming step, PyTorch", "torch.step", 2.0, 6.0),
    ("training step of the character model, PyTorch", "torch.char_lm", 1.25, None),
    ("any case, candle, burn and rust-lstm", "any_rust", 2.2, 6.0),
    ("LSTM inference, H ≥ 256, B ≥ 32: share of the FMA peak", "peak.lstm.infer.f32.padded.large", 0.85, None),
    ("LSTM training, H ≥ 256, B ≥ 32: share of the FMA peak", "peak.lstm.train.f32.padded.large", 0.75, None),
    ("2 threads against 1, B ≥ 32", "scaling.f32.batched", 1.8, None),
)

# The rows of the README's table: the title and the filters of compare.py.
GROUPS = (
    ("LSTM inference", "lstm.infer.f32.padded.uni"),
    ("LSTM training", "lstm.train.f32.padded.uni"),
    ("GRU and RNN inference", "gru+rnn.infer.f32.padded"),
    ("GRU and RNN training", "gru+rnn.train.f32.padded"),
    ("ragged inference, LSTM and GRU", "infer.ragged"),
    ("ragged training, LSTM and GRU", "train.ragged"),
    ("2 layers, both directions, inference", "infer.stacked.bi"),
    ("2 layers, both directions, training", "train.stacked.bi"),
    ("f64 inference, LSTM and GRU", "f64.infer"),
    ("f64 training, LSTM and GRU", "f64.train"),
    ("one streaming step, LSTM and GRU", "step"),
    ("training step of a character model", "char_lm"),
)


def table(head, rows):
    """Returns a Markdown table with a left-aligned first column and right-aligned others."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def versions(results):
    """Returns {worker: version}, ours first."""
    found = {w: row["version"] for rows in results.table.values() for w, row in rows.items()}
    return {w: found[w] for w in ("ours", *PEERS) if w in found}


def machines(results):
    return [fact for fact in results.facts if fact["kind"] == "machine"]


def date(results):
    stamp = machines(results)[0]["date"]
    return f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}"


def cpu(results):
    return re.sub(r"\((R|TM|r|tm)\)", "", machines(results)[0]["cpu"])


def told(machine, key):
    """Returns a fact about the machine, or a question mark if it is unknown."""
    value = machine.get(key) or "?"
    return INSTRUCTIONS.get(value, value)


def describe(results):
    """Returns machine, versions and command as Markdown."""
    first = machines(results)[0]
    peers = ", ".join(f"{NAMES.get(w, w)} {v}" for w, v in versions(results).items() if w != "ours")
    return "\n".join((
        f"- Machine: {cpu(results)}, {first['cores']} cores, {told(first, 'instructions')}, {first['system']}",
        f"- Versions: recurrent {versions(results).get('ours', '–')} at revision {told(first, 'revision')}, "
        f"{told(first, 'rustc')}, Python {first['python']}; {peers}",
        f"- Command: `{told(first, 'command')}`, {first['rounds']} rounds, begun {date(results)}",
    )) + "\n"


def peaks(results):
    """Returns the peak rates of the machine before and after each thread count."""
    rows = []
    for fact in results.facts:
        peak = fact["peak_gflops_per_core"]
        reads = " · ".join(
            f"{size(int(n))} {rate:.0f}" for n, rate in fact.get("read_gb_per_s_per_core", {}).items()
        )
        when = "after" if fact["kind"] == "machine_after" else "before"
        rows.append([f"{fact['threads']}, {when}", peak["f32"], peak["f64"], reads])
    return table(["threads", "FMA f32, GF/s", "FMA f64, GF/s", "reads, GB/s by working set"], rows)


def size(count):
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1024 or unit == "GB":
            return f"{count:.0f} {unit}"
        count /= 1024


def milliseconds(seconds):
    return f"{seconds * 1e3:.4g}"


def peer_cell(row):
    if row is None:
        return ""
    if row["status"] != "ok":
        return "–" if row["status"] == "unsupported" else row["status"].upper()
    ratio = f" ({row['ratio']:.2f})" if "ratio" in row else ""
    return milliseconds(row["median"]) + ratio


def cases(results, threads):
    """Returns the table of all cases on so many threads."""
    chosen = {name: rows for (count, name), rows in results.table.items() if count == threads}
    peers = [w for w in PEERS if any(w in rows for rows in chosen.values())]
    lines = []
    for name, rows in chosen.items():
        noisy = any(row.get("foreign_cores", 0) > NOISY for row in rows.values())
        ours = rows.get("ours")
        if ok(ours):
            share = f"{ours['peak_fraction']:.0%}" if "peak_fraction" in ours else ""
            own = [milliseconds(ours["min"]), milliseconds(ours["median"]), share]
        else:
            own = ["", peer_cell(ours), ""]
        lines.append([name + "*" * noisy, *own, *(peer_cell(rows.get(peer)) for peer in peers)])
    head = ["case", "min", "median", "of peak", *(NAMES.get(peer, peer) for peer in peers)]
    return table(head, lines)


def bound(value, at_most):
    return "" if value is None else f"{'≤' if at_most else '≥'} {value:g}"


def requirements(results):
    """Returns the table of requirements, with the worst case and the mean of each."""
    lines = []
    for title, key, each, mean in REQUIREMENTS:
        one = Requirement.parse(f"{key}={each or 0}")
        found, missing = one.values(results)
        if not found:
            verdict = f"ours missing in {len(missing)}" if missing else "not measured"
            lines.append([title, "", bound(each, one.at_most), "", bound(mean, one.at_most), "", verdict])
            continue
        worst, average = found[0], geomean([value for value, _ in found])
        met = not missing and (each is None or one.good(worst[0])) and (mean is None or average >= mean)
        verdict = "met" if met else f"**not met**{f', ours missing in {len(missing)}' if missing else ''}"
        lines.append([
            title, f"{worst[0]:.2f}", bound(each, one.at_most), f"{average:.2f}",
            bound(mean, one.at_most), worst[1], verdict,
        ])
    head = ["requirement", "worst", "asked", "geometric mean", "asked", "the worst case", ""]
    return table(head, lines)


def ragged(results):
    """Returns the table of ragged cases beside their padded twins."""
    lines = []
    for threads, name in results.table:
        own = results.ours(threads, name)
        twin = results.ours(threads, name.removesuffix("-ragged"))
        if own and twin and own is not twin:
            alive = own["gflops"] * own["median"] / (twin["gflops"] * twin["median"])
            share = own["median"] / twin["median"]
            lines.append([f"{name} on {threads}t", f"{share:.2f}", f"{alive:.2f}"])
    return table(["ragged case", "time over padded", "steps over padded"], lines) if lines else ""


def streaming(results):
    """Returns the table of the rates at which steps read the weights, beside the core's rate for a
    working set of the same size."""
    lines = []
    for threads, name in results.table:
        row = results.ours(threads, name)
        if not row or row["mode"] != "step":
            continue
        read = grid.weights_bytes(row)
        facts = next(fact for fact in machines(results) if fact["threads"] == threads)
        rates = {int(n): rate for n, rate in facts.get("read_gb_per_s_per_core", {}).items()}
        best = next((f"{rates[n]:.0f}" for n in sorted(rates) if n >= read), "?")
        lines.append([
            f"{name} on {threads}t", f"{row['median'] * 1e6:.3g}", size(read),
            f"{read / row['median'] / 1e9:.0f}", best,
        ])
    head = ["streaming step", "µs", "weights", "GB/s read", "GB/s a core reads at that size"]
    return table(head, lines) if lines else ""


def document(results):
    """Returns the full report of a run, in Markdown."""
    parts = [f"# {cpu(results)}, {date(results)}\n", describe(results), peaks(results)]
    for threads in sorted({threads for threads, _ in results.table}):
        noisy = f" \\*: other programs kept more than {NOISY} cores busy meanwhile." if any(
            row.get("foreign_cores", 0) > NOISY
            for (count, _), rows in results.table.items() if count == threads for row in rows.values()
        ) else ""
        parts += [
            f"## {threads} thread{'s' if threads > 1 else ''}\n",
            "Milliseconds: ours the smallest of all calls and the median of the rounds, with the share of the "
            f"FMA peak; the others' median, and in brackets theirs over ours.{noisy}\n",
            cases(results, threads),
        ]
    parts += [
        "## Requirements\n",
        "Their time over ours, all thread counts together, f32 where not said otherwise.\n",
        requirements(results), ragged(results), streaming(results),
    ]
    return "\n".join(part for part in parts if part)


def group_cells(results, filters, peers):
    """Returns a README row of the cases that a peer ran, or None if there are none."""
    chosen = {
        key: rows for key, rows in results.table.items()
        if len(rows) > 1 and all(passes(word, next(iter(rows.values()))) for word in filters.split("."))
    }
    cells, timed = [], False
    for peer in peers:
        ratios = [rows[peer]["ratio"] for rows in chosen.values() if "ratio" in rows.get(peer, {})]
        timed |= bool(ratios)
        cells.append(f"{geomean(ratios):.2f} ({min(ratios):.2f})" if ratios else "–")
    shares = [rows["ours"]["peak_fraction"] for rows in chosen.values() if "peak_fraction" in rows.get("ours", {})]
    ends = sorted({f"{share * 100:.0f}" for share in (min(shares), max(shares))}, key=int) if shares else ["–"]
    return [len({name for _, name in chosen}), f"{'–'.join(ends)} %", *cells] if timed else None


def section(path):
    """Returns the README's section between the markers."""
    if path is None:
        return "**Speed**: no run is recorded yet; `benches/peers/run.sh --record` makes the table.\n"
    results = Results.read(path)
    first, used = machines(results)[0], versions(results)
    peers = [peer for peer in PEERS if peer in used]
    crates = (*INFERENCE_CRATES, *RUST)
    beside = ", ".join(f"{NAMES.get(w, w)} {used[w].partition('+')[0]}" for w in peers if w not in crates)
    rust = ", ".join(f"{NAMES.get(w, w)} {used[w]}" for w in peers if w in crates)
    counts = sorted({threads for threads, _ in results.table})
    peak = first["peak_gflops_per_core"]
    lines = []
    for title, filters in GROUPS:
        if cells := group_cells(results, filters, peers):
            lines.append([title, *cells])
    record = path.relative_to(README.parent).with_suffix(".md").as_posix()
    return (
        f"**Speed** beside {beside}{' and the crates ' + rust if rust else ''}, side by side in one run: their time "
        f"over ours as the geometric mean of the cases and, in brackets, the worst of them, on "
        f"{' and '.join(map(str, counts))} thread{'s' if counts[-1] > 1 else ''}; f32 where not said otherwise. "
        f"{cpu(results)}, {first['cores']} cores, {told(first, 'instructions')} with an FMA peak of "
        f"{peak['f32']:.0f} GF/s a core (f64: {peak['f64']:.0f}); {told(first, 'rustc')}; {date(results)}; "
        f"`{told(first, 'command')}`. Every case: [{record}]({record}).\n\n"
        + table(["work", "cases", "of peak", *(NAMES.get(peer, peer) for peer in peers)], lines)
    )


def newest():
    """Returns the path of the latest record, or None if there is none."""
    records = list(RECORDS.glob("*/*.jsonl"))
    return max(records, key=lambda path: path.stem, default=None)


def keep(path, results):
    slug = re.sub(r"[^a-z0-9]+", "-", cpu(results).lower()).strip("-")
    stamp = machines(results)[0]["date"].partition("-")[2]
    target = RECORDS / slug / f"{date(results)}-{stamp}.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.resolve() != target:
        shutil.copyfile(path, target)
    target.with_suffix(".md").write_text(document(results))
    return target


def with_section(text):
    """Returns the README's text with the section of the newest record."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"README.md must have {BEGIN} and {END} once each")
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{section(newest())}{END}{rest.partition(END)[2]}"


def check():
    record = newest()
    if record and record.with_suffix(".md").read_text() != document(Results.read(record)):
        sys.exit(f"{record.with_suffix('.md')} is not what its results give: run report.py {record} --record")
    text = README.read_text()
    if with_section(text) != text:
        sys.exit("README.md's section on speed is not what the newest record gives: run report.py --readme")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="?", type=Path)
    for option in ("--record", "--readme", "--check"):
        parser.add_argument(option, action="store_true")
    arguments = parser.parse_args()
    if not arguments.results and (arguments.record or not (arguments.readme or arguments.check)):
        parser.error("RESULTS.jsonl is missing")
    if arguments.results:
        results = Results.read(arguments.results)
        if not results.table:
            sys.exit("no results in the file")
        print(document(results))
        if arguments.record:
            print(f"kept as {keep(arguments.results, results)}")
    if arguments.readme:
        README.write_text(with_section(README.read_text()))
    if arguments.check:
        check()


if __name__ == "__main__":
    main()
