"""Times loss and gradient of a CRF, this crate against pytorch-crf, in f32.

    cargo build --release --manifest-path ours/Cargo.toml --bin recurrent_crf
    .venv/bin/python -m pip install pytorch-crf==0.7.2
    .venv/bin/python crf.py [--ours PATH] [--threads 1,2] [--rounds 9] [--batch 32] [--time 50] [--tags 20]

Both compute the mean negative log-likelihood and the gradients of emissions and scores. In each round they
take turns of 0.3 s, and each time is the least of all calls: other programs only add to it. The
results are compared first.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TURN = 0.3


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ours", default=str(HERE / "ours/target/release/recurrent_crf"))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--time", type=int, default=50)
    parser.add_argument("--tags", type=int, default=20)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def worker(options):
    """Compares and times on as many threads as this process was started for."""
    import torch
    from safetensors.torch import save_file
    from torchcrf import CRF

    torch.set_num_threads(options.worker)
    torch.manual_seed(1)
    crf = CRF(options.tags)
    emissions = torch.randn(options.time, options.batch, options.tags, requires_grad=True)
    tags = torch.randint(options.tags, (options.time, options.batch))
    for name, lengths in [
        ("full", torch.full((options.batch,), options.time)),
        ("ragged", torch.randint(1, options.time + 1, (options.batch,))),
    ]:
        lengths[0] = options.time
        mask = torch.arange(options.time)[:, None] < lengths
        inputs = [emissions, *crf.parameters()]

        def call():
            loss = -crf(emissions, tags, mask, reduction="mean")
            return loss, torch.autograd.grad(loss, inputs)

        loss, gradients = call()
        loss = float(loss.detach())
        squares = sum(float((d.double() ** 2).sum()) for d in gradients)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "case.safetensors")
            tensors = {"emissions": emissions.detach(), "tags": tags.float()}
            tensors["lengths"] = lengths.float()
            tensors |= {key: value.detach() for key, value in crf.named_parameters()}
            save_file(tensors, path)
            peer, ours = float("inf"), float("inf")
            for _ in range(options.rounds):
                end = time.perf_counter() + TURN
                while time.perf_counter() < end:
                    begin = time.perf_counter()
                    call()
                    peer = min(peer, time.perf_counter() - begin)
                output = subprocess.run(
                    [options.ours, path, str(TURN)], check=True, capture_output=True, text=True
                )
                our_loss, our_squares, least = map(float, output.stdout.split())
                ours = min(ours, least)
        for got, want in [(our_loss, loss), (our_squares, squares)]:
            if abs(got - want) > 1e-4 * abs(want):
                sys.exit(f"{name}: {got} is not {want}")
        print(
            f"{options.worker} threads, {name}: pytorch-crf {1e3 * peer:.3f} ms, "
            f"ours {1e3 * ours:.3f} ms, ratio {peer / ours:.1f}"
        )


def main():
    options = arguments()
    if options.worker:
        return worker(options)
    for threads in options.threads.split(","):
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[: int(threads)]))
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
        environment = {**os.environ, **{name: threads for name in names}}
        command = [sys.executable, __file__, *sys.argv[1:], "--worker", threads]
        subprocess.run(["taskset", "-c", cores, *command], check=True, env=environment)


if __name__ == "__main__":
    main()
