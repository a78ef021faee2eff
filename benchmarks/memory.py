"""Resident memory over a search of 200 trials in one process, and in processes of a few trials each.

    python benchmarks/memory.py                              # same and schedule, at once
    python benchmarks/memory.py --kinds width processes
    python benchmarks/memory.py --kinds schedule --types     # with what grows among Python's objects

Each kind is a search in a process of its own; they run at once, since memory does not depend on time:

same        One architecture: the compiled model is used again.
width       Another width in nearly every trial: each compiles anew, sixteen are kept.
schedule    A learning rate schedule: none can be used again (a trace freezes it), each compiles anew.
processes   As `schedule`, by a worker process that ends after `--each` trials and is started again: the
            most that any of them had.

Prints the memory after some of the trials, and the slope over the second half by least squares.
"""

import argparse
import collections
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

KINDS = ("same", "width", "schedule", "processes")
MEMORY_FILE = "KERAS_INITX_BENCHMARK_MEMORY"


def resident():
    """This process's resident memory in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def build(kind, hp):
    """Two layers: what is compiled counts here, not what is computed."""
    import keras

    width = hp.Int("width", 16, 999) if kind == "width" else 32
    rate = hp.Float("rate", 1e-4, 1e-2)
    schedule = kind in ("schedule", "processes")
    layers = [keras.layers.Dense(width, "relu"), keras.layers.Dense(10, activation="softmax")]
    model = keras.Sequential([keras.Input((64,)), *layers])
    if schedule:
        rate = keras.optimizers.schedules.ExponentialDecay(rate, 10, 0.9)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Meter:
    """An observer that writes down the resident memory after each trial."""

    def __init__(self, path, types):
        self.path, self.types, self.counts, self.n = path, types, {}, 0

    def on_trial_begin(self, trial, seeds):
        """Nothing."""

    def on_epoch_end(self, epochs):
        """Nothing."""

    def on_seed_end(self, trial, seed, record, skipped_epochs):
        """Nothing."""

    def on_trial_end(self, trial, status):
        """Adds a line to the file, which other processes may write to as well."""
        self.n += 1
        row = {"trial": int(trial.trial_id), "pid": os.getpid(), "mb": resident()}
        if self.types and self.n % 50 == 0:
            gc.collect()
            found = collections.Counter(type(o).__name__ for o in gc.get_objects())
            grown = {name: n - self.counts[name] for name, n in found.items() if name in self.counts}
            row["grown"] = sorted(grown.items(), key=lambda item: -item[1])[:25]
            self.counts = found
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def run(kind, folder, options):
    """One search, in this process or in those that it starts."""
    from keras_initx.tuning import search
    from keras_initx.tuning.parallel.workers import Workers
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    path = Path(os.environ.get(MEMORY_FILE, Path(folder) / "memory.jsonl"))
    joins = MEMORY_FILE in os.environ
    workers = None
    if kind == "processes" and not joins:
        command = [sys.executable, __file__, "--in", folder, *sys.argv[1:]]
        workers = Workers(command, 1, {MEMORY_FILE: str(path)}, trials_each=options.each)
    search(
        lambda hp: build(kind, hp), ((x[:640], y[:640]), (x[640:896], y[640:896])),
        tuner="random", trials=options.trials, epochs=2, seeds=1, learning_rates=None, enqueue=[],
        initializers=["he_normal"], quiet=True, jit_compile=options.jit_compile,
        screening=options.screening, join=joins, workers=workers,
        observers=[] if workers else [Meter(path, options.types)],
        results=f"{folder}/results", logs=f"{folder}/logs",
    )  # fmt: skip
    return [json.loads(line) for line in path.read_text().splitlines()]


def measured(kind, arguments):
    """The rows of one kind, from a process of its own."""
    command = [sys.executable, __file__, "--in", "", "--kinds", kind, *arguments]
    with tempfile.TemporaryDirectory() as folder:
        command[3] = folder
        started = time.perf_counter()
        done = subprocess.run(command, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, capture_output=True)
        if done.returncode:
            raise SystemExit(done.stderr.decode())
        seconds = time.perf_counter() - started
        rows = [json.loads(line) for line in (Path(folder) / "memory.jsonl").read_text().splitlines()]
    return {"kind": kind, "seconds": seconds, "rows": rows, "load": os.getloadavg()}


def told(found):
    """Prints a row of the table."""
    mb = [row["mb"] for row in sorted(found["rows"], key=lambda row: row["trial"])]
    half = mb[len(mb) // 2 :]
    found["slope"] = float(np.polyfit(np.arange(len(half)), half, 1)[0]) if len(half) > 1 else float("nan")
    shares = (0.1, 0.25, 0.5, 0.75, 1)
    cells = [f"{round(share * len(mb))}: {mb[round(share * len(mb)) - 1]:.0f}" for share in shares]
    processes = len({row["pid"] for row in found["rows"]})
    rest = f"{max(mb):.0f} | {found['slope']:+.2f} | {processes} | {found['seconds']:.0f}"
    print(f"| {found['kind']} | {' | '.join(cells)} | {rest} |", flush=True)
    for row in found["rows"]:
        if "grown" in row and row["trial"] + 1 >= len(mb):
            print("\n".join(f"    {name} {n:+}" for name, n in row["grown"]))


def main():
    """Measures each kind, or one of them in this process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--each", type=int, default=40, help="trials of a process")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=("same", "schedule"))
    parser.add_argument("--no-jit-compile", dest="jit_compile", action="store_false")
    parser.add_argument("--no-screening", dest="screening", action="store_false")
    parser.add_argument("--types", action="store_true", help="tell the objects that 50 trials left behind")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--in", dest="folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        run(options.kinds[0], options.folder, options)
        return
    arguments = ["--trials", str(options.trials), "--each", str(options.each)]
    flags = {"--no-jit-compile": not options.jit_compile, "--no-screening": not options.screening}
    arguments += [flag for flag, given in {**flags, "--types": options.types}.items() if given]
    print(f"MB after trial n; load {os.getloadavg()[0]:.1f}\n")
    print("| kind | | | | | | most | MB a trial (second half) | processes | s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with ThreadPoolExecutor() as pool:
        found = []
        for one in pool.map(lambda kind: measured(kind, arguments), options.kinds):
            told(one)
            found.append(one)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
