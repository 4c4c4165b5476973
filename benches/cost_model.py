"""Fits a cost model of LSTM inference to measured times, and predicts those of more cores.

    python3 benches/cost_model.py benches/peers/results/NAME.jsonl [--l2 MIB] [--threads 4,8,16,32,64]

The results are those of `benches/peers/run.py --threads 1,2`. Needs numpy.

A step of a block of `rows` sequences, whose products `units` threads share, takes

    max(W_hh h' by arithmetic, W_hh h' by reading the weights) + W_ih x by arithmetic
    + the cell's equations + a constant + the meetings of the threads

Blocks of 12 sequences and more compute both products in every step. Smaller ones compute W_ih x for many
steps at once, so that it is bound by arithmetic alone. Each thread reads its share of the weights in every
step: from the second-level cache if it fits, else from the third. Two rules divide the work: that of this
crate, blocks of at least four sequences and then the units of a step, and one by the batch alone.
"""

import argparse
import json
import math

import numpy as np

FUSED_ROWS = 12  # as in src/sequence/direction.rs
MIN_BLOCK_ROWS = 4  # as in src/sequence/lengths.rs
MEETING_WEIGHTS, ROWS = 1 << 14, 3  # as in src/tensor/shared.rs
LANES = 16
CONSTANTS = {  # name: (first guess, unit)
    "rate": (80e9, "multiply-adds a second of a core"),
    "second": (90e9, "bytes a second of a core from the second-level cache"),
    "third": (45e9, "bytes a second of a core from the third-level cache"),
    "unit": (1e-9, "seconds for the equations of a unit of a sequence"),
    "step": (3e-7, "seconds of a step in any case"),
    "meeting": (4e-7, "seconds of a meeting of a thread with one of its helpers"),
}


def division(shape, threads, by_units):
    """Returns the number of blocks and the number of threads that share a product of one."""
    _, batch, width, hidden = shape
    blocks = max(1, min(threads, batch // MIN_BLOCK_ROWS))
    rows = math.ceil(batch / blocks)
    inputs = width if rows >= FUSED_ROWS else 0
    weights = 4 * hidden * (hidden + inputs) * (ROWS + rows) // (ROWS + 1)
    parts = math.isqrt(weights // MEETING_WEIGHTS)
    units = min(threads // blocks, parts, math.ceil(hidden / LANES)) if by_units else 1
    return blocks, max(1, units)


def seconds(constants, shape, threads, l2, by_units=True):
    """Returns the predicted time of a walk over a batch."""
    time, batch, width, hidden = shape
    blocks, units = division(shape, threads, by_units)
    rows = math.ceil(batch / blocks)
    of = dict(zip(CONSTANTS, constants))
    fused = rows >= FUSED_ROWS
    read = 4 * hidden * (hidden + (width if fused else 0)) / units
    rate = of["second"] if 4 * read <= l2 else of["third"]
    arithmetic = rows * read / of["rate"]
    inputs = 0 if fused else rows * 4 * hidden * width / units / of["rate"]
    meetings = of["meeting"] * (units - 1)
    equations = of["step"] + rows * hidden * of["unit"]
    return time * (max(arithmetic, 4 * read / rate) + inputs + equations + meetings)


def measured(path):
    """Returns {(shape, threads): seconds} of the LSTM cases of inference in f32."""
    found = {}
    for line in open(path):
        row = json.loads(line)
        if row.get("kind") != "result" or row["worker"] != "ours" or row["status"] != "ok":
            continue
        plain = row["num_layers"] == 1 and not row["bidirectional"] and not row["ragged"]
        if plain and (row["cell"], row["mode"], row["dtype"]) == ("lstm", "infer", "f32"):
            shape = tuple(row[k] for k in ("time", "batch", "input_size", "hidden_size"))
            found[shape, row["threads"]] = row["min"]
    return found


def fit(times, l2):
    """Returns the constants with the least mean squared logarithm of predicted over measured times."""
    rng = np.random.default_rng(1)
    best = np.log([guess for guess, _ in CONSTANTS.values()])

    def loss(logs):
        errors = [math.log(seconds(np.exp(logs), *case, l2) / t) for case, t in times.items()]
        return np.mean(np.square(errors))

    least, width = loss(best), 0.5
    for trial in range(20_000):
        candidate = best + rng.normal(0, width, len(best)) * (rng.random(len(best)) < 0.4)
        found = loss(candidate)
        if found < least:
            best, least = candidate, found
        elif trial % 50 == 49:
            width = max(0.002, width * 0.98)
    return np.exp(best), math.sqrt(least)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("results")
    parser.add_argument("--l2", type=float, default=1, help="MiB of the second-level cache of a core")
    parser.add_argument("--threads", default="4,8,16,32,64")
    arguments = parser.parse_args()
    l2 = arguments.l2 * 2**20
    times = measured(arguments.results)
    constants, error = fit(times, l2)
    for (name, (_, unit)), value in zip(CONSTANTS.items(), constants):
        print(f"{name}: {value:.3g} {unit}")
    print(f"standard deviation of predicted over measured: {100 * error:.0f} %, {len(times)} cases\n")
    counts = [int(n) for n in arguments.threads.split(",")]
    print("| T, B, I, H | 1 thread: measured, model | 2 threads |", " | ".join(map(str, counts)), "|")
    print("|---" * (3 + len(counts)) + "|")
    for shape in sorted({shape for shape, _ in times}, key=lambda shape: (shape[1], shape[3])):
        cells = []
        for n in (1, 2):
            found = times.get((shape, n))
            model = seconds(constants, shape, n, l2)
            cells.append(f"{1e3 * found:.3g}, {1e3 * model:.3g}" if found else f"{1e3 * model:.3g}")
        one = seconds(constants, shape, 1, l2)
        for n in counts:
            ours, batch = (one / seconds(constants, shape, n, l2, rule) for rule in (True, False))
            cells.append(f"{ours:.1f} ({batch:.1f})")
        print("|", ", ".join(map(str, shape)), "|", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
