"""Measures the cost of distributed training on this machine, and predicts that of more ranks.

    python3 mpi/costs.py measure [--rounds 10] > mpi/record/NAME.jsonl
    python3 mpi/costs.py tables mpi/record/NAME.jsonl

`measure` builds the example `costs` and runs it with one and two ranks in turn. The tables use least times.

The model: a step of n ranks takes the time of a share of b sequences, t0 + b·t1, that of the sum of the
gradients of G bytes, and that of two exchanges of 72 bytes. With α for a message and β for a byte,

    chunks     2·(n − 1)·α + 2·(n − 1)/n·G·β      each rank adds an n-th of the values, as here; as a ring
    tree       2·log2(n)·(α + G·β)                a sum to a root and a broadcast
    messages   2·(log2(n)·α + 72·n·β)

α, β, t0 and t1 are fitted to measured times by least squares of relative errors. No network was at hand: the
constants of networks below are assumptions.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CASES = [(28, 32, 28, 128), (50, 64, 64, 256)]  # time, batch, input, hidden
SHARES = [4, 8, 16, 32, 64]  # sequences of a rank, for the case FITTED
FITTED = (50, 64, 64, 256)
LARGEST = 4 << 20  # bytes of the largest sum that is fitted
NETWORKS = {  # name: (seconds of a message, seconds of a byte); None: measured
    "measured": None,
    "2 µs, 12 GB/s": (2e-6, 1 / 12e9),
    "25 µs, 1.2 GB/s": (25e-6, 1 / 1.2e9),
}
RANKS = [8, 16, 32, 64, 128, 256, 512, 1024]
BATCHES = [64, 256, 1024, 8192]
EFFICIENT = 0.8


def measure(rounds):
    """Runs the example and prints its lines."""
    subprocess.run(["cargo", "build", "--release", "--example", "costs"], cwd=HERE, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", HERE / "target"))
    program = target / "release/examples/costs"

    def run(ranks, threads, *arguments):
        environment = {
            **os.environ,
            "RAYON_NUM_THREADS": str(threads),
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        }
        command = ["mpirun", "--bind-to", "none", "-n", ranks, program, *arguments]
        subprocess.run([str(part) for part in command], env=environment, check=True)

    for _ in range(rounds):
        run(2, 1, "exchange")
        for case in CASES:
            steps = max(4, 2_000_000 // (case[0] * case[1] * case[3]) * 4)
            for ranks, threads in [(1, 2), (2, 1), (1, 1)]:
                run(ranks, threads, "step", *case, steps)
            run(1, 1, "step", case[0], case[1] // 2, *case[2:], steps)
        for share in SHARES:
            run(1, 1, "step", FITTED[0], share, *FITTED[2:], 12)


def read(path):
    """Returns the least of each measured time: {key: {name: seconds}}."""
    least = {}
    for row in map(json.loads, open(path)):
        if row["kind"] == "step":
            key, names = ("step", row["ranks"], row["threads"], *row["sizes"]), ["seconds", "sum", "messages"]
        elif row["kind"] == "sum":
            key, names = ("sum", row["values"]), ["chunks", "root", "all_reduce"]
        else:
            key, names = ("message",), ["seconds"]
        of = least.setdefault(key, {"values": row.get("values")})
        if names[0] == "seconds":
            # The parts of a step are those of the least step.
            if row["seconds"] < of.get("seconds", math.inf):
                of.update({name: row[name] for name in names})
        else:
            of.update({name: min(row[name], of.get(name, math.inf)) for name in names})
    return least


def fit(points):
    """Returns a and b of a·x + b·y = t for points (x, y, t), by least squares of relative errors."""
    xx = sum((x / t) ** 2 for x, _, t in points)
    xy = sum(x * y / t**2 for x, y, t in points)
    yy = sum((y / t) ** 2 for _, y, t in points)
    x1, y1 = sum(x / t for x, _, t in points), sum(y / t for _, y, t in points)
    determinant = xx * yy - xy * xy
    return (x1 * yy - y1 * xy) / determinant, (y1 * xx - x1 * xy) / determinant


def spread(points, a, b):
    """Returns the standard deviation of predicted over measured times."""
    ratios = [(a * x + b * y) / t for x, y, t in points]
    return math.sqrt(sum((ratio - 1) ** 2 for ratio in ratios) / len(ratios))


def between(size, times):
    """Returns the time of a sum of `size` bytes, on the line between the nearest measured (bytes, seconds)."""
    above = next(i for i, (bytes_of, _) in enumerate(times) if bytes_of >= size)
    (x0, y0), (x1, y1) = times[above - 1], times[above]
    return y0 + (size - x0) / (x1 - x0) * (y1 - y0)


def chunks(n, size, alpha, beta):
    return 2 * (n - 1) * alpha + 2 * (n - 1) / n * size * beta


def tree(n, size, alpha, beta):
    return 2 * math.log2(n) * (alpha + size * beta)


def messages(n, alpha, beta):
    return 2 * (math.log2(n) * alpha + 72 * n * beta)


def tables(path):
    """Prints the tables of docs/scale.md."""
    least = read(path)
    sums = {key[1]: of for key, of in least.items() if key[0] == "sum"}
    points = [(2, 4 * n, of["chunks"]) for n, of in sums.items() if n > 1024 and 4 * n <= LARGEST]
    alpha, beta = fit(points)

    print("| T, B, I, H | 1 rank, 1 thread | 1 rank, 2 threads | 2 ranks, 1 thread each | ratio |")
    print("|---|---:|---:|---:|---:|")
    for case in CASES:
        times = [least[("step", *key, *case)]["seconds"] for key in [(1, 1), (1, 2), (2, 1)]]
        columns = " | ".join(f"{1e3 * time:.2f}" for time in times)
        print(f"| {', '.join(map(str, case))} | {columns} | {times[1] / times[2]:.2f} |")

    print("\n| T, B, I, H | gradient bytes | B, 1 thread | B/2, 1 thread | sum | ratio to two ideal threads | share of the sum |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for case in CASES:
        whole = least[("step", 1, 1, *case)]
        half = least[("step", 1, 1, case[0], case[1] // 2, *case[2:])]["seconds"]
        size = 4 * whole["values"]
        cost = between(size, sorted((4 * values, of["chunks"]) for values, of in sums.items()))
        ratio = whole["seconds"] / 2 / (half + cost)
        times = " | ".join(f"{1e3 * time:.2f}" for time in (whole["seconds"], half, cost))
        print(f"| {', '.join(map(str, case))} | {size:,} | {times} | {ratio:.2f} | {100 * cost / (half + cost):.1f} % |")

    print(f"\nAn exchange of 17 bytes: {1e6 * least[('message',)]['seconds']:.1f} µs.\n")
    print("| values | by chunks | at a root | `MPI_Allreduce` |\n|---:|---:|---:|---:|")
    for values, of in sorted(sums.items()):
        print(f"| {values:,} | " + " | ".join(f"{1e6 * of[name]:,.1f}" for name in ("chunks", "root", "all_reduce")) + " |")

    steps = [(1, share, least[("step", 1, 1, FITTED[0], share, *FITTED[2:])]["seconds"]) for share in SHARES]
    t0, t1 = fit(steps)
    size = 4 * least[("step", 1, 1, *FITTED)]["values"]
    print(f"\nα {1e6 * alpha:.2f} µs, 1/β {1e-9 / beta:.2f} GB/s (predicted over measured: {100 * spread(points, alpha, beta):.0f} %)")
    print(f"t0 {1e3 * t0:.2f} ms, t1 {1e3 * t1:.3f} ms a sequence (predicted over measured: {100 * spread(steps, t0, t1):.0f} %)\n")

    networks = {name: constants or (alpha, beta) for name, constants in NETWORKS.items()}
    columns = "sum (tree), ms | at 32 | batch"
    print("| ranks | " + " | ".join(f"{name}: {columns}" for name in networks) + " |")
    print("|---:" * (1 + 3 * len(networks)) + "|")
    for n in RANKS:
        row = [f"{n:,}"]
        for a, b in networks.values():
            by_chunks = chunks(n, size, a, b)
            cost = by_chunks + messages(n, a, b)
            efficiency = (t0 + 32 * t1) / (t0 + 32 * t1 + cost)
            share = max(1, math.ceil((cost * EFFICIENT / (1 - EFFICIENT) - t0) / t1))
            row.append(f"{1e3 * by_chunks:.2f} ({1e3 * tree(n, size, a, b):.2f})")
            row.append(f"{100 * efficiency:.0f} %")
            row.append(f"{n * share:,}")
        print("| " + " | ".join(row) + " |")

    print("\n| batch | " + " | ".join(networks) + " |")
    print("|---:" * (1 + len(networks)) + "|")
    for batch in BATCHES:
        row = [f"{batch:,}"]
        for a, b in networks.values():
            step = lambda n: t0 + batch / n * t1 + (chunks(n, size, a, b) + messages(n, a, b)) * (n > 1)
            best = min((2**k for k in range(11) if 2**k <= batch), key=step)
            row.append(f"{best:,} ranks, {step(1) / step(best):.0f} times as fast")
        print("| " + " | ".join(row) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("measure").add_argument("--rounds", type=int, default=10)
    commands.add_parser("tables").add_argument("record")
    arguments = parser.parse_args()
    if arguments.command == "measure":
        measure(arguments.rounds)
    else:
        tables(arguments.record)


if __name__ == "__main__":
    sys.exit(main())
