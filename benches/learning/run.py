"""Trains the same models in PyTorch and in this crate, from the same data in the same batches, and
writes a table of both results. Needs numpy, safetensors and torch (benches/peers/setup.sh).

    python benches/learning/run.py --text FOLDER [--out TABLE.md] [--only "NAME;..."]
                                   [--seeds 5] [--first-seed 0]

FOLDER contains `train.txt` and `test.txt` for the character model, which is skipped without --text.
Each side draws its initial weights with its own generator from the same distributions. Results are
those of --seeds trainings; tasks with random data draw new data for each seed. The time is that of the
fastest epoch of one training, on 1 and on 2 threads, with the two sides one after the other.
"""

import argparse
import csv
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples/data"
CHARACTERS = 200_000


# The tasks. Each returns x [samples, time, width], y [samples, values] and lengths for training and
# test.
def adding(rng, time_steps, samples):
    """The adding problem: the sum of two marked numbers (Hochreiter and Schmidhuber, 1997)."""

    def part(n):
        values, marks = rng.random((n, time_steps)), np.zeros((n, time_steps))
        first = rng.integers(0, time_steps // 2, n)
        second = rng.integers(time_steps // 2, time_steps, n)
        marks[np.arange(n), first] = marks[np.arange(n), second] = 1
        x = np.stack([values, marks], 2)
        return x, (values * marks).sum(1, keepdims=True), np.full(n, time_steps)

    return part(samples), part(1000)


def copying(rng, delay, samples):
    """The copy-memory problem: repeat ten symbols after a delay (Arjovsky et al., 2016)."""

    def part(n):
        symbols = rng.integers(1, 9, (n, 10))
        time_steps = delay + 20
        x, y = np.zeros((n, time_steps), int), np.zeros((n, time_steps), int)
        x[:, :10], x[:, delay + 9], y[:, -10:] = symbols, 9, symbols
        return np.eye(10)[x], y, np.full(n, time_steps)

    return part(samples), part(1000)


def digits(_rng):
    """Classification of digits, whose eight rows are the steps."""

    def part(name):
        table = np.loadtxt(EXAMPLES / f"digits/{name}.csv", delimiter=",", skiprows=1)
        return table[:, 1:].reshape(-1, 8, 8) / 16, table[:, :1], np.full(len(table), 8)

    return part("uci_train"), part("uci_test")


def vowels(_rng):
    """Classification of nine speakers by a vowel."""

    def part(name):
        table = np.loadtxt(EXAMPLES / f"japanese_vowels/{name}.csv", delimiter=",", skiprows=1)
        starts = np.flatnonzero(np.diff(table[:, 0], prepend=-1))
        parts = np.split(table, starts[1:])
        x = np.zeros((len(parts), 29, 12))
        for values, utterance in zip(x, parts):
            values[: len(utterance)] = utterance[:, 3:]
        y = np.array([[utterance[0, 1] - 1] for utterance in parts])
        return x, y, np.array([len(utterance) for utterance in parts])

    return part("train"), part("test")


def weather(_rng):
    """The next day's maximum temperature from fourteen days, standardised by the training data."""

    def read(name):
        rows = csv.DictReader((EXAMPLES / f"seattle/{name}.csv").open())
        names = ["precipitation", "temp_max", "temp_min", "wind"]
        return np.array([[float(row[name]) for name in names] for row in rows])

    train, test = read("seattle_train"), read("seattle_test")
    days = (np.concatenate([train, test]) - train.mean(0)) / train.std(0)

    def part(first, end):
        x = np.stack([days[day - 14 : day] for day in range(first, end)])
        return x, days[first:end, 1:2], np.full(len(x), 14)

    return part(14, len(train)), part(len(train), len(days))


def characters(folder):
    """Prediction of the next character, in pieces of 64 characters."""
    train, test = ((folder / f"{name}.txt").read_text() for name in ["train", "test"])
    known = {c: i for i, c in enumerate(sorted(set(train)))}

    def part(text):
        numbers = np.array([known[c] for c in text if c in known])
        n = (len(numbers) - 1) // 64
        x, y = numbers[: n * 64].reshape(n, 64), numbers[1 : n * 64 + 1].reshape(n, 64)
        return x[:, :, None], y, np.full(n, 64)

    return len(known), lambda _rng: (part(train[:CHARACTERS]), part(test[: CHARACTERS // 10]))


def tasks(folder):
    """The data and the job of each task, by name."""
    adder = {"kind": "regress", "outputs": 1, "batch_size": 32, "epochs": 20, "figure": "loss"}
    all_tasks = {}
    for cell in ["lstm", "gru", "rnn"]:
        for rate in [0.01, 0.001]:
            name = f"adding, T = 50, {cell}, rate {rate}"
            job = adder | {"cell": cell, "hidden_size": 32, "learning_rate": rate}
            all_tasks[name] = (lambda rng: adding(rng, 50, 3200), job)
    job = adder | {"cell": "lstm", "hidden_size": 32, "learning_rate": 0.01}
    all_tasks["adding, T = 200, lstm, rate 0.01"] = (lambda rng: adding(rng, 200, 3200), job)
    lstm = {"cell": "lstm", "batch_size": 32, "learning_rate": 0.005, "hidden_size": 64}
    copy = lstm | {"kind": "tag", "outputs": 10, "epochs": 30, "figure": "loss"}
    all_tasks["copy memory, T = 20"] = (lambda rng: copying(rng, 20, 3200), copy)
    classify = lstm | {"kind": "classify", "figure": "accuracy", "better": "higher"}
    all_tasks["digits, row by row"] = (digits, classify | {"outputs": 10, "epochs": 20})
    all_tasks["JapaneseVowels"] = (vowels, classify | {"outputs": 9, "epochs": 50})
    if folder:
        count, data = characters(folder)
        job = {"kind": "tag", "outputs": count, "embedding": [count, 32], "epochs": 6}
        job |= {"figure": "bits", "hidden_size": 128}
        all_tasks["characters, bits each"] = (data, lstm | job)
    job = {"kind": "regress", "outputs": 1, "epochs": 20, "figure": "rmse", "hidden_size": 32}
    all_tasks["Seattle weather, RMSE in deviations"] = (weather, lstm | job | {"learning_rate": 0.001})
    return all_tasks


class Model(torch.nn.Module):
    """The equivalent of the crate's model for a job."""

    def __init__(self, job, width):
        super().__init__()
        tokens, dim = job["embedding"] or (None, width)
        self.embedding = torch.nn.Embedding(tokens, dim) if tokens else None
        kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[job["cell"]]
        self.recurrent = kind(dim, job["hidden_size"])
        self.head = torch.nn.Linear(job["hidden_size"], job["outputs"])
        self.last = job["kind"] != "tag"

    def forward(self, x, lengths):
        x = self.embedding(x[:, :, 0].long()) if self.embedding else x
        x = x.transpose(0, 1)
        if lengths.min() == x.shape[0]:
            h = self.recurrent(x)[0]
            return self.head(h[-1] if self.last else h.transpose(0, 1))
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        h = pad_packed_sequence(self.recurrent(packed)[0])[0]
        return self.head(h[lengths - 1, torch.arange(len(lengths))])


def loss_of(job, said, y):
    if job["kind"] == "regress":
        return torch.nn.functional.mse_loss(said, y)
    return torch.nn.functional.cross_entropy(said.reshape(-1, job["outputs"]), y.long().flatten())


def train_torch(job, data):
    """Returns metrics on the test part, and the seconds of each epoch."""
    torch.manual_seed(job["seed"])
    part = lambda name: [torch.from_numpy(data[f"{name}.{key}"]) for key in ["x", "y", "lengths"]]
    (x, y, lengths), test = part("train"), part("test")
    model = Model(job, x.shape[2])
    adam = torch.optim.Adam(model.parameters(), lr=job["learning_rate"])
    seconds = []
    for order in torch.from_numpy(data["orders"]).long()[: job["epochs"]]:
        begun = time.perf_counter()
        for chunk in order.split(job["batch_size"]):
            own = lengths[chunk].long()
            adam.zero_grad()
            loss_of(job, model(x[chunk][:, : own.max()], own), y[chunk]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()
        seconds.append(time.perf_counter() - begun)
    with torch.no_grad():
        said = model(test[0], test[2].long())
        loss = loss_of(job, said, test[1]).item()
        right = said.reshape(-1, job["outputs"]).argmax(1) == test[1].flatten()
    figures = {"loss": loss, "rmse": loss**0.5, "accuracy": right.double().mean().item()}
    return figures, seconds


def write_job(folder, name, make, job, seed, epochs=None):
    """Writes the data of a job to the folder, and returns the job."""
    rng = np.random.default_rng(seed)
    train, test = make(rng)
    job = {"embedding": None} | job | {"name": name, "seed": seed}
    job["data"] = f"{name.replace(' ', '_')}-{seed}.safetensors"
    job["epochs"] = epochs or job["epochs"]
    data = {"orders": np.stack([rng.permutation(len(train[0])) for _ in range(job["epochs"])])}
    for part, values in [("train", train), ("test", test)]:
        data |= {f"{part}.{key}": value for key, value in zip(["x", "y", "lengths"], values)}
    data = {key: np.ascontiguousarray(value, np.float32) for key, value in data.items()}
    save_file(data, folder / job["data"])
    return job


def built():
    """Builds the bench `learning` and returns the path of its executable."""
    command = ["cargo", "bench", "--no-run", "--bench", "learning", "--message-format", "json"]
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout.splitlines()
    return next(path for line in lines if (path := json.loads(line).get("executable")))


def train_ours(program, folder, jobs, threads):
    (folder / "jobs.json").write_text(json.dumps(jobs))
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
    subprocess.run([program, str(folder)], env=environment, check=True)
    outcomes = json.loads((folder / "ours.json").read_text())
    return [(dict(outcome["figures"]), outcome["seconds"]) for outcome in outcomes]


def figure_of(job, figures):
    return figures["loss"] / np.log(2) if job["figure"] == "bits" else figures[job["figure"]]


def show(values):
    return f"{np.mean(values):.4g} ({min(values):.4g}–{max(values):.4g})"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--text", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    chosen = {
        name: task
        for name, task in tasks(arguments.text).items()
        if any(part in name for part in arguments.only.split(";"))
    }
    program = built()
    lines = [
        "| task | ours: mean (range) | PyTorch: mean (range) | within or better | "
        "seconds per epoch, 1 thread: ours, PyTorch | 2 threads: ours, PyTorch |",
        "|---|---|---|---|---|---|",
    ]
    for name, (make, job) in chosen.items():
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
            jobs = [write_job(folder, name, make, job, seed) for seed in seeds]
            torch.set_num_threads(1)
            theirs = [train_torch(job, load_file(folder / job["data"])) for job in jobs]
            ours = train_ours(program, folder, jobs, 1)
            short = [write_job(folder, name, make, job, 0, 3)]
            times = []
            for threads in [1, 2]:
                torch.set_num_threads(threads)
                of_torch = train_torch(short[0], load_file(folder / short[0]["data"]))
                times.append((train_ours(program, folder, short, threads)[0][1], of_torch[1]))
        own, other = ([figure_of(job, f) for f, _ in side] for side in [ours, theirs])
        if job.get("better") == "higher":
            good = np.mean(own) >= min(other)
        else:
            good = np.mean(own) <= max(other)
        cells = [name, show(own), show(other), "yes" if good else "**no**"]
        cells += [f"{min(of_ours):.3f}, {min(of_torch):.3f}" for of_ours, of_torch in times]
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
