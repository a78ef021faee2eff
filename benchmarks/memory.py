"""Measure resident memory: of a search of 200 trials, and of `diagnose` next to a training step.

    python benchmarks/memory.py                              # same and schedule, in parallel
    python benchmarks/memory.py --kinds diagnose             # the memory of diagnose / of a training step
    python benchmarks/memory.py --kinds width processes
    python benchmarks/memory.py --kinds schedule --types     # also the Python objects that accumulate

Each kind is a search in a process of its own. They run in parallel, because memory does not depend on time:

same        One architecture: the compiled model is reused.
width       Another width in nearly every trial: each compiles, sixteen models are kept.
schedule    A learning rate schedule: no model can be reused (a trace freezes the schedule), each compiles.
processes   Like `schedule`, in a worker process that ends after `--each` trials and is restarted: the largest
            memory of any of them.

Prints the memory after some of the trials, and the slope over the second half by least squares.

diagnose    No search: one training step of a `TimeDistributed` network on 64 series of each of `--times`, and
            `diagnose` on the same batch. Prints the most memory that each adds, in a process of its own. The
            bar is a ratio of 2.
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

KINDS = ("same", "width", "schedule", "processes", "diagnose")
# The layers that TimeDistributed applies to each time.
NETWORKS = ("dense", "convolutions")
MEMORY_FILE = "KERAS_INITX_BENCHMARK_MEMORY"


def resident():
    """Return the resident memory of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def build(kind, hp):
    """Build two layers: compilation counts here, not computation."""
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
    """Observer that records the resident memory after each trial."""

    def __init__(self, path, types):
        self.path, self.types, self.counts, self.n = path, types, {}, 0

    def on_trial_begin(self, trial, seeds):
        """Do nothing."""

    def on_epoch_end(self, epochs):
        """Do nothing."""

    def on_seed_end(self, trial, seed, record, skipped_epochs):
        """Do nothing."""

    def on_trial_end(self, trial, status):
        """Append a line to the file, which several processes share."""
        self.n += 1
        row = {"trial": int(trial.trial_id), "pid": os.getpid(), "mb": resident()}
        if self.types and self.n % 50 == 0:
            gc.collect()
            counts = collections.Counter(type(o).__name__ for o in gc.get_objects())
            grown = {name: n - self.counts[name] for name, n in counts.items() if name in self.counts}
            row["grown"] = sorted(grown.items(), key=lambda item: -item[1])[:25]
            self.counts = counts
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def run(kind, folder, options):
    """Run one search, in this process or in processes that it starts."""
    from keras_initx.tuning import Execution, Results, SearchSpace, Stopping, search
    from keras_initx.tuning.parallel import Workers
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
        lambda hp: build(kind, hp), x[:640], y[:640], validation_data=(x[640:896], y[640:896]),
        batch_size=64, space=SearchSpace(["he_normal"]), tuner="random", trials=options.trials, epochs=2,
        seeds=1, enqueue=[], verbose=0, stopping=Stopping(screening=options.screening),
        execution=Execution(options.jit_compile, workers=workers),
        observers=[] if workers else [Meter(path, options.types)],
        results=Results(f"{folder}/results", "join" if joins else "new", f"{folder}/logs"),
    )  # fmt: skip
    return [json.loads(line) for line in path.read_text().splitlines()]


def measure(kind, arguments):
    """Return the rows of one kind, from a process of its own."""
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


def most():
    """Return the largest resident memory of this process so far in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def added(network, times, what):
    """Return the MB that a training step, or `diagnose`, adds to this process."""
    import keras

    import keras_initx

    layers = keras.layers
    shape = (8,) if network == "dense" else (32, 32, 3)
    inner = [layers.Dense(16, "relu"), layers.Dense(16, "relu")]
    if network == "convolutions":
        convolutions = [layers.Conv2D(8, 3, activation="relu"), layers.MaxPooling2D()]
        inner = [*convolutions, layers.Conv2D(16, 3, activation="relu"), layers.GlobalAveragePooling2D()]
    each = layers.TimeDistributed(keras.Sequential([keras.Input(shape), *inner]))
    model = keras.Sequential([keras.Input((times, *shape)), each, layers.GRU(8), layers.Dense(2)])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(64, times, *shape)).astype("float32")
    y = np.zeros((64, 2), "float32")
    before = most()
    if what == "step":
        model.train_on_batch(x, y)
    else:
        keras_initx.diagnose(model, x, y, samples=64)
    return most() - before


def compare_with_a_step(times):
    """Print the memory of a training step, of `diagnose`, and their ratio."""
    print("| network | times | training step, MB | diagnose, MB | ratio |")
    print("|---|---|---|---|---|")
    for network in NETWORKS:
        for count in times:
            mb = []
            for what in ("step", "diagnose"):
                command = [sys.executable, __file__, "--added", network, str(count), what]
                env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
                done = subprocess.run(command, env=env, capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(done.stderr)
                mb.append(float(done.stdout.split()[-1]))
            ratio = mb[1] / mb[0]
            print(f"| {network} | {count} | {mb[0]:.0f} | {mb[1]:.0f} | {ratio:.2f} |", flush=True)


def report(result):
    """Print one row of the table."""
    mb = [row["mb"] for row in sorted(result["rows"], key=lambda row: row["trial"])]
    half = mb[len(mb) // 2 :]
    result["slope"] = float(np.polyfit(np.arange(len(half)), half, 1)[0]) if len(half) > 1 else float("nan")
    shares = (0.1, 0.25, 0.5, 0.75, 1)
    cells = [f"{round(share * len(mb))}: {mb[round(share * len(mb)) - 1]:.0f}" for share in shares]
    processes = len({row["pid"] for row in result["rows"]})
    rest = f"{max(mb):.0f} | {result['slope']:+.2f} | {processes} | {result['seconds']:.0f}"
    print(f"| {result['kind']} | {' | '.join(cells)} | {rest} |", flush=True)
    for row in result["rows"]:
        if "grown" in row and row["trial"] + 1 >= len(mb):
            print("\n".join(f"    {name} {n:+}" for name, n in row["grown"]))


def main():
    """Measure each kind, or one of them in this process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--each", type=int, default=40, help="trials per process")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=("same", "schedule"))
    parser.add_argument("--no-jit-compile", dest="jit_compile", action="store_false")
    parser.add_argument("--no-screening", dest="screening", action="store_false")
    parser.add_argument("--types", action="store_true", help="print the objects that 50 trials leave behind")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--times", nargs="+", type=int, default=[100, 300], help="times for diagnose")
    parser.add_argument("--in", dest="folder", help=argparse.SUPPRESS)
    parser.add_argument("--added", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.added:
        print(added(options.added[0], int(options.added[1]), options.added[2]))
        return
    if options.folder:
        run(options.kinds[0], options.folder, options)
        return
    if "diagnose" in options.kinds:
        compare_with_a_step(options.times)
    kinds = [kind for kind in options.kinds if kind != "diagnose"]
    if not kinds:
        return
    arguments = ["--trials", str(options.trials), "--each", str(options.each)]
    flags = {"--no-jit-compile": not options.jit_compile, "--no-screening": not options.screening}
    arguments += [flag for flag, is_set in {**flags, "--types": options.types}.items() if is_set]
    print(f"MB after trial n; load {os.getloadavg()[0]:.1f}\n")
    print("| kind | | | | | | most | MB a trial (second half) | processes | s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with ThreadPoolExecutor() as pool:
        results = []
        for result in pool.map(lambda kind: measure(kind, arguments), kinds):
            report(result)
            results.append(result)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
