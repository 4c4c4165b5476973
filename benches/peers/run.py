"""Times recurrent-network implementations side by side. See README.md.

    .venv/bin/python run.py [--quick] [--cases REGEX] [--threads 1,2] [--rounds 7]
        [--ours COMMAND] [--peers torch,onnxruntime,...] [--out results/NAME.jsonl]
"""

import argparse
import datetime
import functools
import json
import math
import os
import platform
import queue
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

import grid

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "workers"))

PYTHON_WORKERS = ("torch", "onnxruntime", "openvino", "jax", "numpy")
RUST_WORKERS = {
    "candle": ["candle_worker"],
    "burn": ["burn_worker", "--backend", "ndarray"],
    "burn_flex": ["burn_worker", "--backend", "flex"],
    "rust_lstm": ["rust_lstm_worker"],
    "tract": ["tract_worker"],
    "rten": ["rten_worker"],
    "nexus": ["nexus_worker"],
    "rtneural": ["rtneural-worker"],
}
DEFAULT_PEERS = (
    "torch,onnxruntime,openvino,jax,rtneural,nexus,tract,rten,candle,burn,burn_flex,rust_lstm"
)
TIMEOUT = 120  # the seconds after which a worker without an answer counts as hung
TURN = 0.15  # the seconds of calls in a worker's turn
MIN_CALLS, MAX_CALLS = 3, 2000
NOISY = 0.1  # cases during which other programs use more cores than this get a note
SETTLE = 0.02  # the seconds between turns, in which the threads of the last worker go to sleep


class Lost(Exception):
    """Raised if the worker died or hung; `status` is one of these."""

    def __init__(self, status, detail):
        super().__init__(detail)
        self.status = status


class Worker:
    """A worker process. It starts with the first request, and again after it died or hung."""

    def __init__(self, name, command, threads):
        self.name, self.threads = name, threads
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:threads]))
        self.command = ["taskset", "-c", cores, *command]
        self.process, self.version = None, None

    def start(self):
        environment = {**os.environ, "RUST_BACKTRACE": "0"}
        for library in ("OMP", "MKL", "OPENBLAS", "RAYON", "MATMUL"):
            environment[f"{library}_NUM_THREADS"] = str(self.threads)
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment, start_new_session=True,
        )
        self.lines = queue.Queue()
        threading.Thread(target=self.read, args=(self.process, self.lines), daemon=True).start()
        self.version = self.receive().get("version", "?")

    @staticmethod
    def read(process, lines):
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    def receive(self):
        try:
            line = self.lines.get(timeout=TIMEOUT)
        except queue.Empty:
            self.stop()
            raise Lost("hung", f"no answer in {TIMEOUT} s") from None
        if line is None:
            code = self.process.wait()
            self.stop()
            raise Lost("died", f"exit status {code}")
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            self.stop()
            raise Lost("died", f"not a JSON object: {line[:80]!r}")
        return answer

    def ask(self, **request):
        if self.process is None:
            self.start()
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except (BrokenPipeError, OSError):
            pass  # receive() reports the end of the process
        return self.receive()

    def time(self, calls):
        answer = self.ask(op="time", calls=calls)
        if "seconds" not in answer:
            raise Failed("error", answer.get("error", str(answer)))
        return answer["seconds"]

    def stop(self, polite=False):
        process, self.process = self.process, None
        if process is None:
            return
        if polite:
            try:
                process.stdin.write('{"op":"quit"}\n')
                process.stdin.close()
                process.wait(timeout=5)
            except (OSError, subprocess.TimeoutExpired):
                pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


class Failed(Exception):
    """Raised to end the case for a worker. `status` is unsupported, error or wrong."""

    def __init__(self, status, detail):
        super().__init__(detail)
        self.status = status


def make_workers(arguments, threads):
    workers = []
    if arguments.ours:
        workers.append(Worker("ours", ["sh", "-c", f"{arguments.ours} --threads {threads}"], threads))
    if arguments.before:
        command = ["sh", "-c", f"{arguments.before} --threads {threads}"]
        workers.append(Worker("before", command, threads))
    for name in filter(None, arguments.peers.split(",")):
        if name in PYTHON_WORKERS:
            command = [sys.executable, str(HERE / "workers" / f"{name}_worker.py")]
        elif name in RUST_WORKERS:
            binary, *options = RUST_WORKERS[name]
            path = HERE / "rust" / "target" / "release" / binary
            if not path.exists():
                sys.exit(f"{name}: not built; run ./setup.sh")
            command = [str(path), *options]
        else:
            sys.exit(f"no such peer: {name}")
        workers.append(Worker(name, [*command, "--threads", str(threads)], threads))
    return workers


def make_tensors(case):
    """Writes the file of a case, with the same numbers in every run, seeded by the case's name."""
    rng = np.random.default_rng(zlib.crc32(case["name"].encode()))
    dtype = {"f32": np.float32, "f64": np.float64}[case["dtype"]]
    time, batch, hidden = case["time"], case["batch"], case["hidden_size"]
    directions = 2 if case["bidirectional"] else 1
    prefix = "lstm." if case["mode"] == "char_lm" else ""

    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    def uniform(*shape):
        bound = 1 / math.sqrt(hidden)
        return rng.uniform(-bound, bound, shape).astype(dtype)

    tensors = {}
    rows = grid.gates(case) * hidden
    for layer, width in enumerate(grid.layer_widths(case)):
        for suffix in ("", "_reverse")[:directions]:
            tensors[f"{prefix}weight_ih_l{layer}{suffix}"] = uniform(rows, width)
            tensors[f"{prefix}weight_hh_l{layer}{suffix}"] = uniform(rows, hidden)
            tensors[f"{prefix}bias_ih_l{layer}{suffix}"] = uniform(rows)
            tensors[f"{prefix}bias_hh_l{layer}{suffix}"] = uniform(rows)
    if case["mode"] == "char_lm":
        tensors["embedding.weight"] = normal(grid.VOCABULARY, case["input_size"])
        tensors["linear.weight"] = uniform(grid.VOCABULARY, hidden)
        tensors["linear.bias"] = uniform(grid.VOCABULARY)
        tensors["tokens"] = rng.integers(0, grid.VOCABULARY, (time + 1, batch), dtype=np.int64)
        return tensors

    states = ["h", "c"] if case["cell"] == "lstm" else ["h"]
    shape = (case["num_layers"] * directions, batch, hidden)
    tensors["x"] = normal(time, batch, case["input_size"])
    for state in states:
        tensors[f"{state}_0"] = 0.5 * normal(*shape)
    if case["mode"] == "train":
        tensors["d_output"] = normal(time, batch, directions * hidden)
        for state in states:
            tensors[f"d_{state}_n"] = normal(*shape)
    if case["ragged"]:
        lengths = rng.integers(1, time + 1, batch, dtype=np.int64)
        lengths[rng.integers(batch)] = time
        tensors["lengths"] = lengths
    return tensors


def reference(case, tensors, from_zero):
    """Returns PyTorch's results in f64, the reference for every worker (PyTorch in f32 too), from the
    states of the file or from zero."""
    import torch
    import torch_worker

    tensors = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in tensors.items()}
    if from_zero:
        tensors |= {k: np.zeros_like(v) for k, v in tensors.items() if k in ("h_0", "c_0")}
    work = torch_worker.make(case, tensors, dtype=torch.float64)
    with getattr(work, "context", torch.enable_grad)():
        return work.check()


def tolerance(case):
    if case["dtype"] == "f64":
        return 1e-10
    if case["mode"] == "char_lm":
        return 1e-4  # the first steps of Adam divide by small numbers
    return 1e-5 * max(1.0, math.sqrt(case["time"] / 100))


def check(case, tensors, wanted, got):
    """Returns the largest error relative to the reference's largest value. Raises Failed if an error
    exceeds the tolerance."""
    worst = 0.0
    for name, want in wanted.items():
        have = got.get(name)
        if have is None or have.shape != want.shape:
            shape = None if have is None else have.shape
            raise Failed("wrong", f"{name}: shape {shape}, wanted {want.shape}")
        if case["ragged"] and name in ("output", "d_x"):
            padding = np.arange(case["time"])[:, None] >= tensors["lengths"][None, :]
            if np.any(have[padding]):
                raise Failed("wrong", f"{name}: not zero in the padding")
        scale = np.max(np.abs(want)) or 1.0
        error = float(np.max(np.abs(have.astype(np.float64) - want)) / scale)
        if not error <= tolerance(case):  # NaN fails too
            raise Failed("wrong", f"{name}: error {error:.2e} of its largest value")
        worst = max(worst, error)
    return worst


def peak(threads):
    """Returns the peak rates of a core: multiply-adds in GF/s by dtype, the highest of those on 1 and 2
    threads, and reads in GB/s by the bytes of the working set, on so many threads."""
    path = HERE / "rust" / "target" / "release" / "peak"
    if not path.exists():
        sys.exit("the peak program is not built; run ./setup.sh")
    output = subprocess.run([path], capture_output=True, text=True, check=True).stdout
    measured = json.loads(output)
    nearest = measured.get(str(threads)) or measured[max(measured)]
    return {
        "instructions": nearest["instructions"],
        "peak_gflops_per_core": {d: max(m[d] for m in measured.values()) for d in ("f32", "f64")},
        "read_gb_per_s_per_core": nearest["read"],
    }


def output_of(*command):
    """Returns the output of a program, or None if it is missing or fails."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def cpu_model():
    with open("/proc/cpuinfo") as info:
        return next((v.split(":")[1].strip() for v in info if v.startswith("model name")), "?")


class ForeignLoad:
    """A measurement of the mean number of cores that other programs have used since its creation."""

    def __init__(self, workers):
        self.sessions = {str(w.process.pid) for w in workers if w.process}
        self.start = self.now()

    def now(self):
        tick = os.sysconf("SC_CLK_TCK")
        with open("/proc/stat") as stat:
            user, nice, system, _, _, irq, softirq, steal = map(int, stat.readline().split()[1:9])
        own = 0
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open(f"/proc/{entry}/stat") as stat:
                        fields = stat.read().rpartition(")")[2].split()
                except OSError:
                    continue
                if fields[3] in self.sessions or entry == str(os.getpid()):
                    own += int(fields[11]) + int(fields[12])
        busy = user + nice + system + irq + softirq + steal
        return time.perf_counter(), (busy - own) / tick

    def cores(self):
        (start, before), (end, after) = self.start, self.now()
        return max(0.0, round((after - before) / (end - start), 2))


def prepare(worker, case, tensors, file, wanted, folder):
    """Loads the case, makes the first call and the check, and returns the row so far."""
    def load():
        answer = worker.ask(op="load", case=grid.protocol_case(case), file=str(file))
        if not answer.get("ok"):
            status = "unsupported" if "unsupported" in answer else "error"
            raise Failed(status, str(answer.get(status, answer)))
        return answer.get("start") == "zero"

    from_zero = load()
    first_call = worker.time(1)[0]
    load()  # the check starts from the parameters of the file
    out = Path(folder) / f"{worker.name}.safetensors"
    out.unlink(missing_ok=True)
    answer = worker.ask(op="check", out=str(out))
    if not answer.get("ok"):
        raise Failed("error", str(answer.get("error", answer)))
    error = check(case, tensors, wanted(from_zero), load_file(out))
    once = min(worker.time(2))
    calls = min(MAX_CALLS, max(MIN_CALLS, math.ceil(TURN / max(once, 1e-7))))
    if case["mode"] == "step":  # a sample covers many steps
        calls = max(MIN_CALLS, math.ceil(TURN / max(once, 2e-3)))
    return {"status": "ok", "first_call": first_call, "error": error, "calls": calls, "rounds": []}


def run_case(case, workers, rounds, folder):
    """Returns a row for each worker: {name: {"status": ..., ...}}."""
    tensors = make_tensors(case)
    file = Path(folder) / "case.safetensors"
    save_file(tensors, file)
    wanted = functools.cache(lambda from_zero: reference(case, tensors, from_zero))
    rows = {}

    def attempt(worker, action):
        try:
            return action()
        except (Failed, Lost) as problem:
            rows[worker.name] = {"status": problem.status, "detail": str(problem)}

    timed = []
    for worker in workers:
        row = attempt(worker, lambda: prepare(worker, case, tensors, file, wanted, folder))
        if row:
            rows[worker.name] = row
            timed.append(worker)
    foreign = ForeignLoad(timed)
    for index in range(rounds):
        turn = timed[index % len(timed):] + timed[: index % len(timed)] if timed else []
        for worker in turn:
            if rows[worker.name]["status"] != "ok":
                continue
            time.sleep(SETTLE)
            row = rows[worker.name]
            seconds = attempt(worker, lambda: worker.time(row["calls"]))
            if seconds:
                row["rounds"].append(statistics.median(seconds))
                row["min"] = min(row.get("min", math.inf), min(seconds))
    foreign = foreign.cores()
    for worker in timed:
        row = rows[worker.name]
        if row["status"] == "ok":
            row["foreign_cores"] = foreign
            answer = attempt(worker, lambda: worker.ask(op="rss")) or {}
            row["peak_bytes"] = answer.get("peak_bytes")

    lengths = tensors.get("lengths")
    work = grid.flops(case, lengths)
    ours = rows.get("ours", {})
    for name, row in rows.items():
        if row["status"] != "ok":
            continue
        row["median"] = statistics.median(row["rounds"])
        row["gflops"] = work / row["median"] / 1e9
        if name != "ours" and ours.get("status") == "ok":
            ratios = [peer / our for peer, our in zip(row["rounds"], ours["rounds"])]
            row["ratios"] = ratios
            row["ratio"], row["ratio_min"], row["ratio_max"] = (
                statistics.median(ratios), min(ratios), max(ratios),
            )
    return rows


def progress(index, count, case, threads, rows):
    parts = []
    for name, row in rows.items():
        if row["status"] == "ok":
            ratio = f" ({row['ratio']:.2f}x)" if "ratio" in row else ""
            parts.append(f"{name} {row['median'] * 1e3:.4g} ms{ratio}")
        elif row["status"] == "unsupported":
            parts.append(f"{name} -")
        else:
            parts.append(f"{name} {row['status'].upper()} ({row['detail']})")
    foreign = max((row.get("foreign_cores", 0) for row in rows.values()), default=0)
    note = f" | other programs used {foreign} cores" if foreign > NOISY else ""
    where = f"[{index}/{count}] {threads}t {case['name']}"
    print(f"{where}: {' | '.join(parts)}{note}", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="the cases marked quick only")
    parser.add_argument("--cases", default="", help="only cases whose name matches this regex")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ours", help="shell command that starts the worker under test")
    parser.add_argument("--before", help="shell command of the worker of an earlier commit")
    parser.add_argument("--peers", default=DEFAULT_PEERS)
    parser.add_argument("--all-cases", action="store_true", help="every peer on every case")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--command", help="the command to record in the results")
    arguments = parser.parse_args()

    cases = [
        case for case in grid.grid()
        if re.search(arguments.cases, case["name"]) and (case["quick"] or not arguments.quick)
    ]
    if not cases:
        sys.exit("no case matches")
    for number in (signal.SIGINT, signal.SIGTERM):  # so that `finally` ends the workers
        signal.signal(number, lambda *_: sys.exit("interrupted"))
    available = len(os.sched_getaffinity(0))
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    out = arguments.out or HERE / "results" / f"{stamp}.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)

    with open(out, "w") as results, tempfile.TemporaryDirectory() as folder:
        def record(**line):
            results.write(json.dumps(line) + "\n")
            results.flush()

        for threads in map(int, arguments.threads.split(",")):
            if threads > available:
                print(f"skipping {threads} threads: {available} cores", file=sys.stderr)
                continue
            best = peak(threads)
            record(
                kind="machine", threads=threads, cpu=cpu_model(), cores=available,
                system=f"{platform.system()} {platform.machine()}",
                python=platform.python_version(), date=stamp, rounds=arguments.rounds,
                quick=arguments.quick, command=arguments.command or " ".join(sys.argv),
                rustc=output_of("rustc", "--version"),
                revision=output_of("git", "describe", "--always", "--dirty"), **best,
            )
            workers = make_workers(arguments, threads)
            try:
                for index, case in enumerate(cases, 1):
                    active = [
                        worker for worker in workers
                        if worker.name in ("ours", "before") or not case["ours_alone"] and (
                            worker.name not in grid.CHOSEN or arguments.all_cases
                            or worker.name in case["chosen_peers"]
                        )
                    ]
                    rows = run_case(case, active, arguments.rounds, folder)
                    for worker in active:
                        row = rows[worker.name]
                        if row["status"] == "ok":
                            total = best["peak_gflops_per_core"][case["dtype"]] * threads
                            row["peak_fraction"] = row["gflops"] / total
                        facts = {k: v for k, v in case.items() if k not in grid.DRIVER_FIELDS}
                        record(
                            kind="result", threads=threads, worker=worker.name,
                            version=worker.version, **facts, **row,
                        )
                    progress(index, len(cases), case, threads, rows)
            finally:
                for worker in workers:
                    worker.stop(polite=True)
            record(
                kind="machine_after", threads=threads,
                versions={worker.name: worker.version for worker in workers},
                **peak(threads),
            )
    print(out.relative_to(Path.cwd()) if out.is_relative_to(Path.cwd()) else out)


if __name__ == "__main__":
    main()
