"""Measures a stream of many sessions: this crate's own, and onnxruntime on the file that the example wrote.

    python benches/serving.py

Needs cargo, numpy and onnxruntime. Both run in one call of this program, one after the other: first the example
`to_onnx`, which trains a small model, writes to_onnx_stream.onnx and times its own steps, then onnxruntime on
one thread. A step is one frame of each session of a batch; throughput is frames of all sessions a second.
"""

import re
import subprocess
import time
from pathlib import Path

import numpy as np
import onnxruntime

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "target" / "examples-out"
STEPS = 4000


def own():
    """Runs the example, and returns its time of a step for each batch, in microseconds."""
    command = ["cargo", "run", "--quiet", "--release", "--features", "onnx", "--example", "to_onnx", "--"]
    command += ["--quick", "--out", str(OUT)]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    print(lines)
    batches = [int(batch) for batch in re.findall(r"batch (\d+)", lines)]
    times = re.findall(r"a step: ([0-9.]+) µs by the model's stream, ([0-9.]+) µs", lines)
    return {batch: (float(own), float(file)) for batch, (own, file) in zip(batches, times)}


def session():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(OUT / "to_onnx_stream.onnx", options)


def theirs(session, batch):
    """Returns the time of a step, in microseconds."""
    states = [value for value in session.get_inputs() if value.name != "x"]
    feeds = {value.name: np.zeros((batch, value.shape[1]), dtype=np.float32) for value in states}
    feeds["x"] = np.random.default_rng(1).standard_normal((1, batch, 12)).astype(np.float32)
    names = ["probabilities"] + ["next_" + value.name for value in states]
    for k in range(STEPS + 100):
        if k == 100:
            start = time.perf_counter()
        results = session.run(names, feeds)
        feeds |= {value.name: result for value, result in zip(states, results[1:])}
    return (time.perf_counter() - start) / STEPS * 1e6


def main():
    times, file = own(), session()
    print("| sessions | this crate's stream | the file by `Graph` | the file by onnxruntime |")
    print("|---:|---:|---:|---:|")
    for batch, own_times in times.items():
        every = [*own_times, theirs(file, batch)]
        print(f"| {batch} | " + " | ".join(f"{t:.1f} µs, {batch / t * 1e6:,.0f}/s" for t in every) + " |")


if __name__ == "__main__":
    main()
