"""Measure what `SignalMonitor` costs at its default setting: training with and without it, in turns.

    python benchmarks/monitor.py                 # a small MLP and ResNet50; about ten minutes on two cores
    python benchmarks/monitor.py --models mlp --seconds 30

The clock runs from the end of the first step of a `fit` to the end of the last, including the callback. The
time before the first step (a trace, a compilation, two measurements) is printed separately. The limit applies
to the time within the callback: under 2 %. The difference of the two trainings is printed next to it, with
its spread.
"""

import argparse
import os
import tempfile
import time

import numpy as np

BAR = 0.02


def mlp():
    """Return four layers of 256 units on MNIST's shape, batches of 128."""
    import keras

    hidden = [keras.layers.Dense(256, "relu", kernel_initializer="he_auto") for _ in range(4)]
    model = keras.Sequential([keras.Input((784,)), *hidden, keras.layers.Dense(10, activation="softmax")])
    return model, (784,), 10, 128


def resnet():
    """Return ResNet50 on images of 96 x 96, batches of 16."""
    import keras

    shape = (96, 96, 3)
    return keras.applications.ResNet50(weights=None, input_shape=shape, classes=10), shape, 10, 16


def stamps(model, data, steps, *callbacks):
    """Return the times at which a `fit` began, ended its first step and ended its last step."""
    import keras

    class Stamps(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            times.append(time.perf_counter())

    times = [time.perf_counter()]
    # Last in the list, so that the work of the other callbacks counts.
    model.fit(data, steps_per_epoch=steps, verbose=0, callbacks=[*callbacks, Stamps()])
    return times[0], times[1], times[-1]


def measure(build, seconds, rounds):
    """Measure the seconds per step of one model without and with a monitor, in turns."""
    import keras

    from keras_initx import SignalMonitor

    class Timed(SignalMonitor):
        """Monitor that adds up its own time between the first step and the last."""

        inside = 0.0

        def on_train_batch_end(self, batch, logs=None):
            started = time.perf_counter()
            super().on_train_batch_end(batch, logs)
            self.inside += time.perf_counter() - started

    model, shape, classes, batch = build()
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=True)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4 * batch, *shape)).astype("float32"), rng.integers(0, classes, 4 * batch)

    class Endless(keras.utils.PyDataset):
        def __len__(self):
            return 10**6

        def __getitem__(self, index):
            start = index * batch % len(x)
            return x[start : start + batch], y[start : start + batch]

    begun = stamps(model, Endless(), 5)
    step = (begun[2] - begun[1]) / 4
    steps = max(10, round(seconds / step))
    plain, watched, before, counts, shares = [], [], [], [], []
    for _ in range(rounds):
        _, first, last = stamps(model, Endless(), steps)
        plain.append((last - first) / (steps - 1))
        with tempfile.TemporaryDirectory() as folder:
            monitor = Timed(folder, data=(x, y))
            start, first, last = stamps(model, Endless(), steps, monitor)
        watched.append((last - first) / (steps - 1))
        shares.append(monitor.inside / (last - first))
        before.append(first - start)
        counts.append(monitor.measured)
    return steps, plain, watched, before, counts, shares


def main():
    """Measure the chosen models."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=("mlp", "resnet"), default=("mlp", "resnet"))
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of each training")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores\n")
    print("| model | steps | ms a step | with a monitor | inside | more | rounds | measured | before, s |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    met = True
    for name in options.models:
        steps, plain, watched, before, counts, shares = measure(
            {"mlp": mlp, "resnet": resnet}[name], options.seconds, options.rounds
        )
        ratios = [b / a - 1 for a, b in zip(plain, watched, strict=True)]
        more = float(np.median(watched)) / float(np.median(plain)) - 1
        met = met and max(shares) < BAR
        cells = (
            f"{1e3 * np.median(plain):.1f} | {1e3 * np.median(watched):.1f} | {max(shares):.2%} | "
            f"{more:+.1%} | {min(ratios):+.1%} to {max(ratios):+.1%} | {counts[-1]} | {np.median(before):.1f}"
        )
        print(f"| {name} | {steps} | {cells} |", flush=True)
    print(f"\nunder {BAR:.0%}: {'yes' if met else 'NO'}")
    raise SystemExit(not met)


if __name__ == "__main__":
    main()
