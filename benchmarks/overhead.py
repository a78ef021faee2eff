"""Measure what a trial of `search` costs beyond its training, against a bare loop of `model.fit`.

    python benchmarks/overhead.py
    python benchmarks/overhead.py --json overhead.json --only long

Right after each trial the same process trains the same seeds again in a bare loop: one compiled model, reset
to the weights that the trial began with, with only `model.fit` timed. A busy machine slows down both, and
the comparison is strict: drawing weights, resetting the optimizer, screening, the study, the weights file and
TensorBoard all count as overhead. The first trial, in which both compile, is reported separately. There are
two searches: short trials (the command line's network on scikit-learn's digits) and long trials (784 inputs,
layers of 512 units, for about ten seconds of training).

The limits: under 0.5 s a trial, and under 10 % of a long trial.
"""

import argparse
import functools
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from timers import Timers

BAR_SECONDS, BAR_SHARE = 0.5, 0.10
BATCH = 64


def digits():
    """Return scikit-learn's digits: 1,280 to train, 512 to validate."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    return (x[:1280], y[:1280]), (x[1280:1792], y[1280:1792])


def images(rows=4_096):
    """Return noise of MNIST's shape; its class is the largest of ten projections."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows + 1_024, 784)).astype("float32")
    y = np.argmax(x @ rng.normal(size=(784, 10)), axis=1)
    return (x[:rows], y[:rows]), (x[rows:], y[rows:])


def network(inputs, width, hp=None):
    """Build five hidden layers and a softmax; the initializer is a hyperparameter."""
    import keras

    name = "he_normal" if hp is None else hp.Choice("initializer", ["he_normal", "he_auto", "glorot_uniform"])
    hidden = [keras.layers.Dense(width, "relu", kernel_initializer=name) for _ in range(5)]
    last = keras.layers.Dense(10, activation="softmax", kernel_initializer=name)
    model = keras.Sequential([keras.Input((inputs,)), *hidden, last])
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"], jit_compile=True)
    return model


class Bare:
    """Observer that repeats the training of each trial in a bare loop, and times both."""

    def __init__(self, build, data, epochs, seeds, timers):
        self.build, self.epochs, self.seeds, self.timers = build, epochs, seeds, timers
        (self.x, self.y), self.validation = data
        self.model, self.rows, self.curves = None, [], {}
        self.began, self.began_cpu = time.perf_counter(), time.process_time()

    def fit(self, model, epochs=None):
        """Train one seed in the usual way."""
        return model.fit(
            self.x, self.y, epochs=epochs or self.epochs, batch_size=BATCH, verbose=0,
            validation_data=self.validation, validation_batch_size=len(self.validation[0]),
        )  # fmt: skip

    def train(self, hp, seed):
        """Train one seed; return its wall time, its processor time and its curves."""
        import keras

        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(seed)
        fresh = self.build(hp)
        fresh.optimizer.build(fresh.trainable_variables)
        if self.model is None:
            self.model = fresh
        else:
            self.model.set_weights(fresh.get_weights())
            for kept, new in zip(self.model.optimizer.variables, fresh.optimizer.variables, strict=True):
                kept.assign(new)
        started, cpu = time.perf_counter(), time.process_time()
        history = self.fit(self.model).history
        return time.perf_counter() - started, time.process_time() - cpu, history

    def on_trial_begin(self, trial, seeds):
        """Do nothing: a trial begins when the previous one ends."""

    def on_epoch_end(self, epochs):
        """Do nothing."""

    def on_seed_end(self, trial, seed, record, skipped_epochs):
        """Keep the curves, to check that the bare loop trains the same."""
        self.curves[seed] = record["curves"]

    def on_trial_end(self, trial, status):
        """Run the bare loop, after all other work of the trial is done."""
        wall, cpu = time.perf_counter() - self.began, time.process_time() - self.began_cpu
        parts = self.timers.take()
        with self.timers.off():
            trained = {seed: self.train(trial.hyperparameters, seed) for seed in self.seeds}
        same = all(trained[seed][2] == self.curves[seed] for seed in self.seeds)
        bare, bare_cpu = (sum(run[n] for run in trained.values()) for n in (0, 1))
        parts["fit beyond the bare loop"] = parts.pop("fit", 0.0) - bare
        row = {"search": wall, "bare": bare, "overhead": wall - bare, "status": status, "same": same}
        row["overhead_cpu"] = cpu - bare_cpu
        parts["all else"] = row["overhead"] - sum(parts.values())
        self.rows.append({**row, "parts": parts})
        self.began, self.began_cpu = time.perf_counter(), time.process_time()


def watch(timers):
    """Time the parts of a trial."""
    import keras
    from keras_initx.tuning.dashboards import observer, progress_bar
    from keras_initx.tuning.pruning import screening
    from keras_initx.tuning.space import hypermodel
    from keras_initx.tuning.study import oracle
    from keras_initx.tuning.training import callbacks, checkpoints, model_cache

    timers.watch(keras.Model, "fit", "fit")
    timers.watch(hypermodel.InitializerHyperModel, "build", "building and drawing the model")
    timers.watch(model_cache.CompiledModels, "adopt", "lending the weights to the compiled model")
    timers.watch(screening.Screen, "__call__", "screening")
    timers.watch(checkpoints, "save_weights", "saving weights")
    timers.watch(callbacks.BestEpoch, "on_epoch_end", "keeping the best epoch in memory")
    timers.watch(callbacks.BestEpoch, "on_train_end", "keeping the best epoch in memory")
    for name in ("create_trial", "end_trial"):
        timers.watch(oracle.OptunaOracle, name, "study: a trial begins and ends")
    for name in ("report_epoch", "report_seed"):
        timers.watch(oracle.OptunaOracle, name, "study: epochs and seeds")
    for name in ("on_trial_begin", "on_seed_end", "on_trial_end"):
        timers.watch(observer.DashboardObserver, name, "TensorBoard")
        timers.watch(progress_bar.ProgressObserver, name, "progress and log")


def measure(kind, trials, seeds, epochs, seconds):
    """Run one search and its bare loop."""
    from keras_initx.tuning import Results, search

    data = digits() if kind == "short" else images()
    inputs, width = (64, 64) if kind == "short" else (784, 512)
    build = functools.partial(network, inputs, width)
    timers = Timers()
    bare = Bare(build, data, epochs, range(seeds), timers)
    if kind == "long":
        model = build()
        bare.fit(model, 1)
        started = time.perf_counter()
        bare.fit(model, 3)
        epoch = (time.perf_counter() - started) / 3
        bare.epochs = max(1, round(seconds / seeds / epoch))
    watch(timers)
    with tempfile.TemporaryDirectory() as folder, timers:
        bare.began, bare.began_cpu = time.perf_counter(), time.process_time()
        search(
            lambda hp: build(hp), bare.x, bare.y, validation_data=bare.validation, tuner="random",
            trials=trials, epochs=bare.epochs, seeds=seeds, batch_size=BATCH, verbose=0,
            enqueue=[], observers=[bare], results=Results(f"{folder}/results", logs=f"{folder}/logs"),
        )  # fmt: skip
        end = time.perf_counter() - bare.began
    return {
        "kind": kind, "trials": trials, "seeds": seeds, "epochs": bare.epochs, "rows": bare.rows,
        "after_the_last_trial": end, "load": os.getloadavg(),
    }  # fmt: skip


def report(result):
    """Print one search; return whether it is within the limits."""
    first, rows = result["rows"][0], [r for r in result["rows"][1:] if r["status"] == "completed"]
    overhead = statistics.median(r["overhead"] for r in rows)
    worst = max(r["overhead"] for r in rows)
    bare = statistics.median(r["bare"] for r in rows)
    cpu = statistics.median(r["overhead_cpu"] for r in rows)
    share = statistics.median(r["overhead"] / r["bare"] for r in rows)
    what = f"{result['seeds']} seeds of {result['epochs']} epochs"
    print(
        f"\n{result['kind']} trials: {len(rows)} after the first, each {what}; load {result['load'][0]:.1f}"
    )
    print(f"  bare loop {bare:.2f} s, search {bare + overhead:.2f} s a trial (medians)")
    print(f"  overhead {overhead:.3f} s a trial (median; worst {worst:.3f}), {share:.1%} of the training")
    print(f"  of the processor {cpu:.3f} s a trial more than the bare loop (all threads)")
    print(
        f"  curves bit for bit the same in {sum(r['same'] for r in result['rows'])} of {len(result['rows'])}"
    )
    print(f"  first trial: {first['search']:.1f} s with the setup, bare {first['bare']:.1f} s; both compile")
    print(f"  after the last trial: {result['after_the_last_trial']:.2f} s (results, best model)\n")
    print("  | part | s a trial (mean) | of the first trial |")
    print("  |---|---|---|")
    parts = {name: statistics.mean(r["parts"].get(name, 0.0) for r in rows) for name in first["parts"]}
    for name, mean in sorted(parts.items(), key=lambda part: -part[1]):
        print(f"  | {name} | {mean:.3f} | {first['parts'][name]:.2f} |")
    met = overhead < BAR_SECONDS and (result["kind"] == "short" or share < BAR_SHARE)
    bar = f"under {BAR_SECONDS} s" + ("" if result["kind"] == "short" else f" and {BAR_SHARE:.0%}")
    print(f"\n  {bar}: {'yes' if met else 'NO'}", flush=True)
    result["summary"] = {
        "overhead_s": overhead, "worst_s": worst, "overhead_cpu_s": cpu, "bare_s": bare, "share": share,
        "parts_s": parts, "met": met,
    }  # fmt: skip
    return met


def main():
    """Measure both kinds of trials."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=12, help="number of short trials")
    parser.add_argument("--long-trials", type=int, default=7)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20, help="epochs of one seed of a short trial")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds of training of a long trial")
    parser.add_argument("--only", choices=("short", "long"))
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    kinds = {"short": options.trials, "long": options.long_trials}
    results, met = [], []
    for kind, trials in kinds.items():
        if options.only in (None, kind):
            results.append(measure(kind, trials, options.seeds, options.epochs, options.seconds))
            met.append(report(results[-1]))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    raise SystemExit(not all(met))


if __name__ == "__main__":
    main()
