"""Measure whether screening saves training, and whether it ever ends a trial that would have won.

    python benchmarks/screening.py --thresholds FILE   # what one batch shows of a start, and how it trains
    python benchmarks/screening.py                     # seeded searches, each with and without screening

The searches run on scikit-learn's digits, over common initializers (zeros, ones, uniform 0..1, large and
small normals, gains that are wrong at this depth, and right ones) and two learning rates, in a network of
`--depth` dense layers. Each search runs twice from the same seed, with and without screening. The count is
the number of epochs until the search first reaches the best score of the run without screening.
"""

import argparse
import itertools
import json
import tempfile
from pathlib import Path

import numpy as np

NORMALS = {"normal 10": 10.0, "normal 1": 1.0, "normal 0.3": 0.3, "normal 0.02": 0.02}
INITIALIZERS = (
    "zeros", "ones", "unit_uniform", *NORMALS, "random_normal", "random_uniform", "truncated_normal",
    "small_normal", "glorot_uniform", "he_normal", "he_auto", "auto",
)  # fmt: skip
RATES = (1e-3, 3e-3)


def data():
    """Return scikit-learn's digits: 1,152 to train, 320 to validate."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / 16).astype("float32"), y[order]
    return (x[:1152], y[:1152]), (x[1152:1472], y[1152:1472])


def network(kernel, depth, activation="relu", optimizer="adam", rate=1e-3):
    """Build dense layers of 64 units, each with its own copy of an initializer."""
    import keras

    hidden = [keras.layers.Dense(64, activation, kernel_initializer=kernel) for _ in range(depth)]
    last = keras.layers.Dense(10, activation="softmax", kernel_initializer=kernel)
    model = keras.Sequential([keras.Input((64,)), *hidden, last])
    instance = keras.optimizers.get({"class_name": optimizer, "config": {"learning_rate": rate}})
    model.compile(instance, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def epochs_to(trials, score):
    """Return the epochs that a search trained until a trial reached a score; None if no trial did."""
    count = 0
    for trial in trials:
        for record in trial.seeds.values():
            curve = record["curves"]["val_accuracy"]
            reached = [n for n, value in enumerate(curve, 1) if value >= score]
            if reached:
                return count + reached[0]
            count += len(curve)
    return None


def one_search(seed, options, screening):
    """Return the trials of one search."""
    from keras_initx.tuning import Results, Stopping, search

    def build(hp):
        import keras

        name = hp.Choice("initializer", INITIALIZERS)
        kernel = keras.initializers.RandomNormal(stddev=NORMALS[name]) if name in NORMALS else name
        return network(kernel, options.depth, rate=hp.Choice("learning_rate", RATES))

    train, validation = data()
    with tempfile.TemporaryDirectory() as folder:
        return search(
            build, *train, validation_data=validation, batch_size=64, tuner=options.tuner, enqueue=[],
            trials=options.trials, epochs=options.epochs, seeds=1, seed=seed,
            stopping=Stopping(screening=screening), verbose=0,
            results=Results(f"{folder}/results", logs=f"{folder}/logs"),
        ).trials  # fmt: skip


def searches(options):
    """Run seeded searches with and without screening; print one row for each."""
    rows, lost = [], 0
    print("| seed | best without | by | epochs to it, without | with | screened of | best with |")
    print("|---|---|---|---|---|---|---|")
    for seed in range(options.searches):
        without, screened = (one_search(seed, options, on) for on in (False, True))
        best = max((t for t in without if t.status == "completed"), key=lambda t: t.sample.mean)
        ended = [t for t in screened if t.status == "screened"]
        lost += any(dict(t.values) == dict(best.values) for t in ended)
        done = [t for t in screened if t.status == "completed"]
        best_screened = max((t.sample.mean for t in done), default=float("nan"))
        pair = epochs_to(without, best.sample.mean), epochs_to(screened, best.sample.mean)
        rows.append((pair, sum(len(r["curves"]["loss"]) for t in screened for r in t.seeds.values())))
        winner = f"{best.sample.mean:.3f} | {best.values['initializer']}"
        share = f"{len(ended)} of {len(screened)} | {best_screened:.3f}"
        print(f"| {seed} | {winner} | {pair[0]} | {pair[1] or '-'} | {share} |", flush=True)
    both = [pair for pair, _ in rows if None not in pair]
    total = sum(a for a, _ in both) / max(1, sum(b for _, b in both))
    everything = len(rows) * options.trials * options.epochs / max(1, sum(n for _, n in rows))
    print(f"\nEpochs to the best score of the search without screening, over its own: {1 / total:.2f}, so")
    print(f"{total:.1f} times fewer, in the {len(both)} of {len(rows)} searches in which both reached it.")
    print(f"Epochs of whole searches: {everything:.1f} times fewer.")
    print(f"Searches whose best trial was screened in the other: {lost} of {len(rows)}.")


def starts():
    """Return initializers by name, from hopeless to right, to find the thresholds on."""
    import keras

    normals = {
        f"normal {s}": keras.initializers.RandomNormal(stddev=s, seed=1)
        for s in (10.0, 1.0, 0.3, 0.2, 0.1, 0.05, 0.01)
    }
    uniform = keras.initializers.RandomUniform(0, 1, seed=1)
    names = ("zeros", "ones", "he_normal", "glorot_uniform", "lecun_normal", "orthogonal", "he_auto", "auto")
    return {"uniform 0..1": uniform, **normals, **{name: name for name in names}}


def thresholds(options):
    """Write a line of JSON for each start: what one batch shows, and the best accuracy of 15 epochs."""
    import keras
    from keras_initx.tuning.data import Batch
    from keras_initx.tuning.pruning.screening import untrainable_reason
    from keras_initx.tuning.pruning.signal_probe import SignalProbe
    from keras_initx.tuning.training.model_cache import CompiledModels

    (x, y), validation = data()
    sample = x[:64], y[:64]
    probe, models = SignalProbe(Batch.of_arrays(*sample)), CompiledModels(True, Batch.of_arrays(*sample))
    optimizers = (("adam", 1e-3), ("adam", 1e-2), ("sgd", 0.01), ("sgd", 0.1))
    cells = itertools.product((5, 30), ("relu", "tanh", "sigmoid"), optimizers)
    with Path(options.thresholds).open("a") as file:
        for depth, activation, (optimizer, rate) in cells:
            for name, kernel in starts().items():
                keras.utils.clear_session(free_memory=False)
                keras.utils.set_random_seed(1)
                model = models.adopt(network(kernel, depth, activation, optimizer, rate))
                signal = probe(model)
                fit = {"epochs": 15, "batch_size": 64, "validation_batch_size": 320, "verbose": 0}
                history = model.fit(x, y, validation_data=validation, **fit).history
                row = {
                    "depth": depth, "activation": activation, "optimizer": optimizer, "rate": rate,
                    "start": name, "loss": signal.loss, "constant": signal.constant, "spread": signal.spread,
                    "largest_hidden_gradient": max(k.gradient for k in signal.kernels[:-1]),
                    "doomed": untrainable_reason(signal), "accuracy": max(history["val_accuracy"]),
                }  # fmt: skip
                file.write(json.dumps(row) + "\n")
                file.flush()


def summary(path):
    """Print how well the ended and the spared starts train, next to the best of their cell."""
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    cells = {}
    for row in rows:
        cell = (row["depth"], row["activation"], row["optimizer"], row["rate"])
        cells.setdefault(cell, []).append(row)
    print("| depth, activation, optimizer, rate | ended of | best of them | best of all | spared at chance |")
    print("|---|---|---|---|---|")
    for cell, group in cells.items():
        ended = [row["accuracy"] for row in group if row["doomed"]]
        chance = sum(not row["doomed"] and row["accuracy"] < 0.15 for row in group)
        best = max(row["accuracy"] for row in group)
        worst = f"{max(ended):.2f}" if ended else "-"
        name = ", ".join(map(str, cell))
        print(f"| {name} | {len(ended)} of {len(group)} | {worst} | {best:.2f} | {chance} |")


def main():
    """Run the chosen part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--searches", type=int, default=20)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--depth", type=int, default=30)
    parser.add_argument("--tuner", default="random")
    parser.add_argument("--thresholds", metavar="FILE", help="measure starts, and write them to this file")
    parser.add_argument("--summary", metavar="FILE", help="print a table of a file of --thresholds")
    options = parser.parse_args()
    if options.thresholds:
        thresholds(options)
    if options.summary or options.thresholds:
        summary(options.summary or options.thresholds)
    else:
        searches(options)


if __name__ == "__main__":
    main()
