"""Compares the training step of encoder-decoders with attention, and a beam search, with PyTorch.

    python benches/peers/seq2seq.py [--rounds 5] [--threads 1 2]

Both run in turn, in processes of their own; each figure is the shortest of all rounds. Needs torch.
PyTorch runs the same mathematics by the best of its ways: whole sequences by nn.LSTM where no step depends
on the attention before, else nn.LSTMCell in a loop.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BATCH, TIME, HIDDEN, TOKENS = 64, 20, 192, 4000


def worker(rounds, threads):
    """Prints the milliseconds of PyTorch."""
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    torch.manual_seed(1)

    class Translator(nn.Module):
        def __init__(self, kind):
            super().__init__()
            self.kind = kind
            self.source, self.target = nn.Embedding(TOKENS, HIDDEN), nn.Embedding(TOKENS, HIDDEN)
            self.encoder = nn.LSTM(HIDDEN, HIDDEN)
            self.bridge = nn.Linear(2 * HIDDEN, 2 * HIDDEN)
            if kind == "general":
                self.decoder = nn.LSTM(HIDDEN, HIDDEN)
            else:
                self.decoder = nn.LSTMCell(2 * HIDDEN, HIDDEN)
            self.key = nn.Linear(HIDDEN, HIDDEN, bias=kind == "additive")
            if kind == "additive":
                self.query = nn.Linear(HIDDEN, HIDDEN, bias=False)
                self.score = nn.Linear(HIDDEN, 1, bias=False)
            self.combine = nn.Linear(2 * HIDDEN, HIDDEN, bias=False)
            self.head = nn.Linear(HIDDEN, TOKENS)

        def encode(self, source):
            memory, (h, c) = self.encoder(self.source(source))
            h, c = self.bridge(torch.cat([h[0], c[0]], 1)).split(HIDDEN, 1)
            memory = memory.transpose(0, 1)  # [batch, time, features]
            return memory, self.key(memory), h, c

        def attend(self, query, memory, keys):
            """`query` [batch, hidden]."""
            if self.kind == "additive":
                scores = self.score(torch.tanh(self.query(query)[:, None] + keys))[:, :, 0]
            else:
                scores = torch.bmm(keys, query[:, :, None])[:, :, 0]
            return torch.bmm(scores.softmax(1)[:, None], memory)[:, 0]

        def step(self, x, readout, h, c, memory, keys):
            if self.kind == "additive":
                context = self.attend(h, memory, keys)
                h, c = self.decoder(torch.cat([x, context], 1), (h, c))
            else:
                h, c = self.decoder(torch.cat([x, readout], 1), (h, c))
                context = self.attend(h, memory, keys)
            return torch.tanh(self.combine(torch.cat([context, h], 1))), h, c

        def forward(self, source, inputs):
            memory, keys, h, c = self.encode(source)
            x = self.target(inputs)
            if self.kind == "general":
                outputs, _ = self.decoder(x, (h[None], c[None]))
                queries = outputs.transpose(0, 1)
                weights = torch.bmm(queries, keys.transpose(1, 2)).softmax(2)
                both = torch.cat([torch.bmm(weights, memory), queries], 2)
                return self.head(torch.tanh(self.combine(both)))
            readout, readouts = torch.zeros_like(h), []
            for x_t in x:
                readout, h, c = self.step(x_t, readout, h, c, memory, keys)
                readouts.append(readout)
            return self.head(torch.stack(readouts, 1))

    def shortest(name, call):
        call()
        best = float("inf")
        for _ in range(rounds):
            start = time.perf_counter()
            call()
            best = min(best, time.perf_counter() - start)
        print(name, f"{best * 1e3:.3f}", flush=True)

    source, target = (torch.randint(2, TOKENS, (TIME, BATCH)) for _ in range(2))
    inputs = torch.cat([torch.zeros(1, BATCH, dtype=torch.long), target[:-1]])
    labels = target.transpose(0, 1).flatten()
    for kind in ["general", "feeding", "additive"]:
        model = Translator(kind)
        adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

        def train():
            adam.zero_grad()
            loss = nn.functional.cross_entropy(model(source, inputs).flatten(0, 1), labels)
            loss.backward()
            adam.step()

        shortest(kind, train)

    model, width = Translator("feeding"), 5

    @torch.inference_mode()
    def beam():
        few = source[:, :8]
        count = few.shape[1]
        memory, keys, h, c = model.encode(few)
        memory, keys = (x.repeat_interleave(width, 0) for x in (memory, keys))
        h, c = (x.repeat_interleave(width, 0) for x in (h, c))
        readout = torch.zeros_like(h)
        scores = torch.full((count, width), -torch.inf)
        scores[:, 0] = 0
        tokens = torch.zeros(count * width, dtype=torch.long)
        first = torch.arange(count)[:, None] * width
        history = []
        for _ in range(TIME):
            readout, h, c = model.step(model.target(tokens), readout, h, c, memory, keys)
            logits = model.head(readout).log_softmax(1)
            logits[:, :2] = -torch.inf
            total = (scores.flatten()[:, None] + logits).view(count, -1)
            scores, best = total.topk(width, 1)
            rows, tokens = (first + best // TOKENS).flatten(), (best % TOKENS).flatten()
            readout, h, c = readout[rows], h[rows], c[rows]
            history.append((rows, tokens))
        return history

    shortest("beam", beam)


def run(command, threads):
    env = os.environ | {"RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    lines = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
    return {name: float(ms) for name, ms in (line.split() for line in lines.splitlines() if line)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--worker", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(*options.worker)
    cargo = ["cargo", "bench", "-q", "-p", "recurrent-benches", "--bench", "seq2seq"]
    subprocess.run([*cargo, "--no-run"], cwd=ROOT, check=True)
    print("| case | threads | PyTorch, ms | recurrent, ms | ratio |\n|---|---:|---:|---:|---:|")
    for threads in options.threads:
        ours, theirs = {}, {}
        for _ in range(options.rounds):
            peer = [sys.executable, __file__, "--worker", "3", str(threads)]
            for best, command in [(theirs, peer), (ours, [*cargo, "--", "3"])]:
                for name, ms in run(command, threads).items():
                    best[name] = min(best.get(name, ms), ms)
        for name, ms in theirs.items():
            print(f"| {name} | {threads} | {ms:.1f} | {ours[name]:.1f} | {ms / ours[name]:.2f} |")


main()
