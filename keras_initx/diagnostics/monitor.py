"""`SignalMonitor`: log the signal through a model to TensorBoard while it trains."""

import itertools
import math
import time
from collections import deque
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._event_files import EventFile, Histogram, histogram, scalar
from keras_initx._graph import Batch
from keras_initx._weights import WeightIndex, all_layers, untouched
from keras_initx.diagnostics.batch import batch_for
from keras_initx.diagnostics.probe import Probe, build_probe, reductions
from keras_initx.diagnostics.records import LayerSignal
from keras_initx.diagnostics.signals import floats, layer_signals
from keras_initx.diagnostics.tensorboard import charts, event_file, scalars, tag_name
from keras_initx.errors import InitxError

# The share of the training time that a monitor may take if `every` is None.
TIME_SHARE = 0.01
# A dead unit may vary by this much, relative to the largest value in its layer.
_ROUNDING = 1e-6


class SignalMonitor(keras.callbacks.Callback):
    """Log the figures of `diagnose` to TensorBoard at the start of training and while it runs.

    Scalars by layer, which Custom Scalars shows with all layers in one chart: the mean and standard deviation
    of pre-activations, the root mean square of their gradients and of the kernel's, dead and saturated units,
    the effective rank and the cosine of samples. Histograms, and so distributions: weights, pre-activations
    and the gradients of weights.

    Each measurement runs a forward and a backward pass of its own on a few samples, compiled once. Training
    proceeds exactly as without the monitor: the model, its optimizer, its statistics and all random
    generators are restored.

    Args:
        log_dir: The folder of a TensorBoard run. If it holds event files of an earlier training, this one
            writes to `log_dir/fit_2`, `log_dir/fit_3` and so on.
        every: The number of steps between two measurements. None measures as often as fits into 1 % of the
            training time.
        data: The data to measure on: a pair (x, y), arrays, or batches, as in `diagnose`. None uses noise,
            and the gradients of a random projection of the outputs.
        loss: As in `diagnose`.
        samples: The number of samples in a measurement.
        window: The number of measurements, each on other samples, in all of which a unit has to return the
            same value to count as dead.
        histograms: Whether to write histograms.

    Raises:
        InitxError: If `every` or `window` is below 1, or `samples` below 2. At the start of training, for the
            reasons that `diagnose` lists.

    Example:

    >>> import tempfile
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.ones((32, 4)), np.ones((32, 1))
    >>> monitor = SignalMonitor(tempfile.mkdtemp(), every=1, data=(x, y))
    >>> _ = model.fit(x, y, callbacks=[monitor], verbose=0)
    >>> monitor.measured
    2

    References: see `diagnose`.
    """

    def __init__(
        self,
        log_dir: str | Path,
        every: int | None = None,
        data: Any = None,
        loss: Any = None,
        samples: int = 16,
        window: int = 10,
        histograms: bool = True,
    ) -> None:
        super().__init__()
        for name, value, least in (("every", every, 1), ("samples", samples, 2), ("window", window, 1)):
            is_integer = isinstance(value, int) and not isinstance(value, bool)
            if not (is_integer and value >= least) and not (name == "every" and value is None):  # type: ignore[operator]
                none = "None or " if name == "every" else ""
                raise InitxError(name, value, f"{none}an integer >= {least}")
        if not isinstance(log_dir, str | Path):
            raise InitxError("log_dir", log_dir, "a folder for TensorBoard, as a string or a Path")
        self.log_dir = Path(log_dir)
        self.measured = 0
        self.rows: tuple[LayerSignal, ...] = ()
        self._settings = (every, data, loss, samples, window, histograms)
        self._every, self._data, self._loss = every, data, loss
        self._samples, self._window, self._histograms = samples, window, histograms
        self._file: EventFile | None = None
        self._probe: Probe | None = None
        self._step = self._written = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> "SignalMonitor":
        """Return a monitor for another training, with the same data. KerasTuner copies one for each trial."""
        return type(self)(self.log_dir, *self._settings)

    def on_train_begin(self, logs: Any = None) -> None:
        """Measure the model before its first step, or after it if only `fit` builds the model."""
        self._step = self.measured = 0
        self._probe = None
        if self.model.built:
            self._start()

    def _start(self) -> None:
        model = self.model
        with untouched(model):
            pool = batch_for(model, *self._inputs_and_targets(), self._loss, self._samples * self._window)
            self._batches = itertools.cycle(_slices(pool, self._samples))
            self._probe = build_probe(model, next(self._batches).x, self._loss, details=True)
        self._index = WeightIndex(all_layers(model))
        # For each measurement, the extremes of the units of each layer.
        self._extremes: deque[list[np.ndarray | None]] = deque(maxlen=self._window)
        self._file = event_file("log_dir", _new_run(self.log_dir), "signal")
        self._file.write(0, [charts()])
        self._measure()
        if self._every is None:
            # The interval follows from the time of one measurement. The first compiles, so time a second one.
            started = time.perf_counter()
            self._measure(write=False)
            self._last = time.perf_counter()
            self._cost = self._last - started

    def _inputs_and_targets(self) -> tuple[Any, Any]:
        if isinstance(self._data, tuple) and len(self._data) == 2:
            return self._data
        return self._data, None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Measure if the next measurement is due."""
        self._step += 1
        if self._probe is None:
            self._start()
            return
        if self._every is not None:
            due = self._step % self._every == 0
        else:
            due = time.perf_counter() - self._last >= self._cost / TIME_SHARE
        if due:
            started = time.perf_counter()
            self._measure()
            self._last = time.perf_counter()
            self._cost = self._last - started

    def on_train_end(self, logs: Any = None) -> None:
        """Measure the trained model."""
        if self._file is not None and self._written != self._step:
            self._measure()
        self._file = self._probe = None

    def _measure(self, write: bool = True) -> None:
        assert self._probe is not None
        assert self._file is not None
        # On JAX, reading `self.model` copies the weights of the training into the model.
        model = self.model
        with untouched(model):
            _, gradients = self._probe.run(next(self._batches), jit_compile=False)
        self.rows = tuple(layer_signals(self._probe, gradients, self._index))
        extremes = [None if e is None else ops.convert_to_numpy(e) for e in self._probe.extremes]
        self._extremes.append(extremes)
        if write:
            self.measured += 1
            self._written = self._step
            self._file.write(self._step, self._summaries(gradients))

    def _summaries(self, gradients: dict[int, list[float]]) -> list[Any]:
        """Return the scalars and histograms of all layers."""
        assert self._probe is not None
        summaries = []
        for number, row in enumerate(self.rows):
            name = tag_name(row)
            summaries += scalars(row)
            if (dead := self._dead_share(number)) is not None:
                summaries.append(scalar(f"dead units/{name}", dead))
            if not self._histograms:
                continue
            kernel = self._probe.points[number].kernel
            counts = {
                "pre-activations": floats(self._probe.histograms[number]),
                "gradients": gradients.get(id(kernel), [])[len(reductions.GRADIENT) :],
                "weights": floats(reductions.histogram(kernel)),
            }
            for title, numbers in counts.items():
                if (bins := _histogram(numbers)) is not None:
                    summaries.append(histogram(f"{title}/{name}", bins))
        return summaries

    def _dead_share(self, number: int) -> float | None:
        """Return the share of units with the same value in the whole window; None if it is unknown."""
        extremes = [measurement[number] for measurement in self._extremes]
        known = [values for values in extremes if values is not None]
        if not known or math.isnan(self.rows[number].dead):
            return None
        least, most = np.min([v[0] for v in known], axis=0), np.max([v[1] for v in known], axis=0)
        largest = max(np.max(np.abs(least)), np.max(np.abs(most)))
        return float(np.mean(most - least <= _ROUNDING * largest))


def _slices(pool: Batch, size: int) -> list[Batch]:
    """Split a batch into batches of `size` samples and drop the rest; a smaller pool is one batch."""
    count = len(keras.tree.flatten(pool.x)[0])
    size = min(size, count)
    slices = [slice(start, start + size) for start in range(0, count - size + 1, size)]
    return [
        Batch(*(None if p is None else keras.tree.map_structure(lambda v, s=s: v[s], p) for p in pool))
        for s in slices
    ]


def _new_run(log_dir: Path) -> Path:
    """Return `log_dir`, or the first `log_dir/fit_N` without event files of an earlier training."""
    folders = itertools.chain([log_dir], (log_dir / f"fit_{n}" for n in itertools.count(2)))
    return next(f for f in folders if not list(f.glob("events.out.tfevents.*.signal.keras_initx")))


def _histogram(numbers: list[float]) -> Histogram | None:
    """Return the histogram that the pass counted, with distinct edges; None if no entry was finite."""
    if not numbers or not math.isfinite(numbers[0]) or not sum(numbers[2:]):
        return None
    least, most, counts = numbers[0], numbers[1], numbers[2:]
    if most - least <= len(counts) * float(np.spacing(max(abs(least), abs(most)))):
        # Equal values span no range, so widen it around them.
        reach = 0.5 * abs(least) if least else 0.5
        least, most = least - reach, least + reach
        counts = [0.0] * len(counts)
        counts[len(counts) // 2] = sum(numbers[2:])
    edges = np.linspace(least, most, len(counts) + 1)
    return Histogram(tuple(map(float, edges)), tuple(map(int, counts)))
