"""Measures the memory of one training call, ours and PyTorch's. See README.md.

    .venv/bin/python memory.py [--checkpoint STEPS] [--shape T,B,I,H] [--threads 1]

Each implementation runs in its own process. After the case is loaded and a call on a sequence of one
step has initialised the libraries, the figure is the peak of the resident memory in the first call of
the case minus the resident memory before it. Freed memory is returned to the system at once.
`--checkpoint` adds a row of ours that keeps the states of every STEPS steps and recomputes the others.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.numpy import save_file

import grid
from run import HERE, Worker, make_tensors


def resident(process, field):
    """Returns VmRSS or VmHWM of a process, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status).group(1)) * 1024


def load(worker, case, folder):
    file = Path(folder) / "case.safetensors"
    save_file(make_tensors(case), file)
    answer = worker.ask(op="load", case={**grid.protocol_case(case), **case.get("more", {})}, file=str(file))
    if not answer.get("ok"):
        sys.exit(f"{worker.name}: {answer}")


def measure(worker, case, folder):
    """Returns the resident bytes before a call, and the peak during it."""
    shape = (1, case["batch"], case["input_size"], case["hidden_size"])
    load(worker, grid.case("", case["cell"], "train", "f32", shape), folder)
    worker.time(1)
    load(worker, case, folder)
    before = resident(worker.process, "VmRSS")
    Path(f"/proc/{worker.process.pid}/clear_refs").write_text("5")
    worker.time(1)
    most = resident(worker.process, "VmHWM")
    worker.stop(polite=True)
    return before, most


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=int, metavar="STEPS")
    parser.add_argument("--shape", default="1000,32,64,128", metavar="T,B,I,H")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    shape = tuple(map(int, arguments.shape.split(",")))
    binary = HERE / "ours" / "target" / "release" / "recurrent_worker"
    if not binary.exists():
        subprocess.run(["cargo", "build", "--release"], cwd=HERE / "ours", check=True)
    ours = [str(binary), "--threads", str(arguments.threads)]
    torch = [sys.executable, str(HERE / "workers" / "torch_worker.py"), "--threads", str(arguments.threads)]
    runs = [("ours", ours, {}), ("PyTorch", torch, {})]
    if arguments.checkpoint:
        runs.insert(1, (f"ours, checkpoint {arguments.checkpoint}", ours, {"checkpoint": arguments.checkpoint}))

    print(f"LSTM, f32, one call of training, T,B,I,H = {arguments.shape}, {arguments.threads} threads, in MB\n")
    print("| | before | peak | the call | over ours |")
    print("|---|---:|---:|---:|---:|")
    first = None
    # Otherwise memory freed after loading would stay resident and hide a part of the call's use.
    os.environ.update(MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072")
    with tempfile.TemporaryDirectory() as folder:
        for name, command, more in runs:
            case = {**grid.case("", "lstm", "train", "f32", shape), "more": more}
            before, most = measure(Worker(name, command, arguments.threads), case, folder)
            call = most - before
            first = first or call
            cells = [f"{count / 2**20:.0f}" for count in (before, most, call)]
            print(f"| {name} | {' | '.join(cells)} | {call / first:.2f} |", flush=True)


if __name__ == "__main__":
    main()
