"""Time fifty initializers of one architecture: `search` against KerasTuner, which compiles every trial.

    python benchmarks/reuse.py

Both train fifty settings of a network of six dense layers, for the same epochs on the same data, under XLA,
each side in a process of its own. Prints the wall times, their ratio, and the number of XLA modules that each
side compiles (counted in a second run, because dumping them takes time).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIDES = ("search", "keras_tuner")


def data():
    """Return scikit-learn's digits: 1,280 to train, 512 to validate, whole batches of 128."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    return (x[:1280], y[:1280]), (x[1280:1792], y[1280:1792])


def build(hp):
    """Build six layers whose initial scale, mode and distribution are hyperparameters."""
    import keras

    kernel = keras.initializers.VarianceScaling(
        hp.Float("scale", 0.5, 4.0),
        hp.Choice("mode", ["fan_in", "fan_out", "fan_avg"]),
        hp.Choice("distribution", ["truncated_normal", "uniform"]),
    )
    hidden = [keras.layers.Dense(64, activation="relu", kernel_initializer=kernel.clone()) for _ in range(5)]
    last = keras.layers.Dense(10, activation="softmax", kernel_initializer=kernel.clone())
    model = keras.Sequential([keras.Input((64,)), *hidden, last])
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"], jit_compile=True)
    return model


def run(side, trials, epochs, screening):
    """Run one side; return the seconds of the search alone."""
    import keras_tuner
    from keras_initx.tuning import Results, Stopping, search

    train, validation = data()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        if side == "search":
            search(
                build, *train, validation_data=validation, tuner="random", trials=trials, epochs=epochs,
                seeds=1, batch_size=128, stopping=Stopping(screening=screening), verbose=0,
                results=Results(f"{folder}/results", logs=f"{folder}/logs"),
            )  # fmt: skip
        else:
            tuner = keras_tuner.RandomSearch(build, "val_accuracy", trials, seed=0, directory=folder)
            options = {"epochs": epochs, "batch_size": 128, "validation_batch_size": 512, "verbose": 0}
            tuner.search(*train, validation_data=validation, **options)
        return time.perf_counter() - started


def measure(side, arguments, dump=None):
    """Return the seconds of one side, from a process of its own."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if dump is not None:
        environment["XLA_FLAGS"] = f"--xla_dump_to={dump} --xla_dump_hlo_as_text"
    command = [sys.executable, __file__, "--side", side, *arguments]
    out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])


def main():
    """Measure both sides, or one of them in this process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--no-screening", action="store_true", help="run `search` without screening")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(run(options.side, options.trials, options.epochs, not options.no_screening)))
        return
    arguments = ["--trials", str(options.trials), "--epochs", str(options.epochs)]
    arguments += ["--no-screening"] if options.no_screening else []
    seconds = {side: measure(side, arguments) for side in SIDES}
    for side in SIDES:
        with tempfile.TemporaryDirectory() as dump:
            measure(side, arguments, dump)
            modules = len({path.name.split(".")[0] for path in Path(dump).glob("module_*")})
        print(f"{side:12} {seconds[side]:7.1f} s   {modules:4} XLA modules")
    print(f"keras_tuner / search = {seconds['keras_tuner'] / seconds['search']:.1f}")


if __name__ == "__main__":
    main()
