"""Times the CTC loss with its gradient by the logits beside PyTorch: log_softmax, ctc_loss and backward.

    ./setup.sh && (cd ours && cargo build --release) && .venv/bin/python ctc.py
        [--threads 1,2] [--rounds 20] [--shape TIME,BATCH,CLASSES,LABELS] [--ours COMMAND]

Both workers load the same logits (f32) and labels, are checked against PyTorch in f64, and take turns. The
times are the least of all calls.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from run import SETTLE, Worker

HERE = Path(__file__).resolve().parent
# Of the largest value. PyTorch sums in f32, in log space, and its gradients have three digits.
TOLERANCE = {"ours": 1e-5, "torch": 2e-3}
TURN = 0.3  # the seconds of a worker's turn


def make_tensors(shape, ragged):
    rng = np.random.default_rng(1)
    steps, batch, classes, labels = shape
    lengths, counts = np.full(batch, steps), np.full(batch, labels)
    if ragged:
        lengths = rng.integers(steps // 2, steps + 1, batch)
        counts = rng.integers(1, labels // 2 + 1, batch)
    return {
        "logits": (2 * rng.standard_normal((steps, batch, classes))).astype(np.float32),
        "labels": rng.integers(1, classes, (batch, labels)),
        "lengths": lengths.astype(np.int64),
        "counts": counts.astype(np.int64),
    }


def reference(tensors):
    import torch

    logits = torch.from_numpy(tensors["logits"]).double().requires_grad_()
    rest = (torch.from_numpy(tensors[name]) for name in ("labels", "lengths", "counts"))
    loss = torch.nn.functional.ctc_loss(logits.log_softmax(-1), *rest)
    loss.backward()
    return {"loss": np.array([loss.item()]), "gradient": logits.grad.numpy()}


def load(worker, file, wanted, folder):
    case = dict(name="ctc", cell="", mode="ctc", dtype="f32", time=0, batch=0, input_size=0,
                hidden_size=0, num_layers=0, bidirectional=False, ragged=False)
    answers = [worker.ask(op="load", case=case, file=str(file))]
    out = folder / f"{worker.name}.safetensors"
    answers.append(worker.ask(op="check", out=str(out)))
    for answer in answers:
        if "ok" not in answer:
            sys.exit(f"{worker.name}: {answer}")
    got = load_file(out)
    for name, want in wanted.items():
        error = np.max(np.abs(got[name] - want)) / np.max(np.abs(want))
        if not error <= TOLERANCE[worker.name]:
            sys.exit(f"{worker.name}: {name}: error {error:.2e} of its largest value")


def measure(workers, rounds):
    """Returns the least seconds of a call of each worker."""
    least = dict.fromkeys((worker.name for worker in workers), float("inf"))
    calls = {worker.name: 3 for worker in workers}
    for turn in range(rounds + 1):
        for worker in workers[turn % 2:] + workers[:turn % 2]:
            time.sleep(SETTLE)
            seconds = min(worker.time(calls[worker.name]))
            calls[worker.name] = max(3, int(TURN / seconds))
            least[worker.name] = min(least[worker.name], seconds)
    return least


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--shape", default="200,32,30,30")
    release = HERE / "ours" / "target" / "release" / "recurrent_ctc_worker"
    parser.add_argument("--ours", default=str(release))
    arguments = parser.parse_args()
    shape = [int(size) for size in arguments.shape.split(",")]
    print("| case | threads | PyTorch, ms | ours, ms | PyTorch / ours |\n|---|---|---|---|---|")
    for ragged in (False, True):
        tensors = make_tensors(shape, ragged)
        wanted = reference(tensors)
        for threads in map(int, arguments.threads.split(",")):
            option = ["--threads", str(threads)]
            torch = [sys.executable, str(HERE / "workers" / "torch_ctc_worker.py")]
            workers = [Worker("ours", [arguments.ours, *option], threads),
                       Worker("torch", [*torch, *option], threads)]
            with tempfile.TemporaryDirectory() as folder:
                folder = Path(folder)
                save_file(tensors, folder / "case.safetensors")
                for worker in workers:
                    load(worker, folder / "case.safetensors", wanted, folder)
                least = measure(workers, arguments.rounds)
            for worker in workers:
                worker.stop(polite=True)
            name = "T {}, B {}, {} classes, {} labels".format(*shape)
            name += ", of any lengths" if ragged else ""
            ours, torch = 1e3 * least["ours"], 1e3 * least["torch"]
            print(f"| {name} | {threads} | {torch:.2f} | {ours:.2f} | {torch / ours:.1f} |", flush=True)


if __name__ == "__main__":
    main()
