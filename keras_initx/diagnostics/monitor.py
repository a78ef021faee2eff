"""`SignalMonitor`: the signal through a model while it trains, in TensorBoard."""

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
from keras_initx.diagnostics.diagnose import probe_of, rows_of
from keras_initx.diagnostics.probe import reductions
from keras_initx.diagnostics.probe.model import Probe
from keras_initx.diagnostics.records import LayerSignal
from keras_initx.diagnostics.tensorboard import charts, event_file, name_of, scalars
from keras_initx.errors import InitxError

# The share of the training's time that a monitor takes where `every` is None.
SHARE = 0.01
# What a unit that is always the same may differ by, against the largest of its layer.
_SAME = 1e-6


class SignalMonitor(keras.callbacks.Callback):
    """Writes what `diagnose` measures to TensorBoard, at the start of a training and while it goes on.

    Scalars by layer, and all layers together in Custom Scalars: the mean and the standard deviation of
    pre-activations, the root mean square of their gradients and of the kernel's, dead and saturated units,
    effective rank, how alike samples are. Histograms (and so distributions) of weights, pre-activations and
    gradients of weights.

    Each measurement is a forward and a backward pass of its own, compiled once, on a few samples; the model,
    its optimizer, its statistics and the generators of random numbers are as if there were none.

    Args:
        log_dir: The folder of a TensorBoard run. Where it has files of an earlier training already, this
            one's go to `log_dir/fit_2` and so on.
        every: Steps between two measurements. None measures as often as takes 1 % of the training's time.
        data: What is measured on: a pair (x, y), arrays, or batches, as in `diagnose`. None is noise, and the
            gradients those of a random projection of the outputs.
        loss: As in `diagnose`.
        samples: How many samples a measurement takes.
        window: Of so many measurements, each on other samples, a unit has to be the same in all to count as
            dead.
        histograms: Whether to write histograms.

    Raises:
        InitxError: A number below 1; fewer than 2 samples. At the start of the training: whatever `diagnose`
            raises.

    Example:

    >>> import tempfile
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.ones((32, 4)), np.ones((32, 1))
    >>> monitor = SignalMonitor(tempfile.mkdtemp(), every=1, data=(x, y))
    >>> _ = model.fit(x, y, callbacks=[monitor], verbose=0)
    >>> monitor.measured
    2

    References: as in `diagnose`.
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
            is_whole = isinstance(value, int) and not isinstance(value, bool)
            if not (is_whole and value >= least) and not (name == "every" and value is None):  # type: ignore[operator]
                raise InitxError(name, value, f"a whole number from {least} on")
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
        """One for another training, as KerasTuner makes it for each trial; the data are shared."""
        return type(self)(self.log_dir, *self._settings)

    def on_train_begin(self, logs: Any = None) -> None:
        """Measures the model before its first step; one that only `fit` builds after it."""
        self._step = self.measured = 0
        self._probe = None
        if self.model.built:
            self._start()

    def _start(self) -> None:
        model = self.model
        with untouched(model):
            pool = batch_for(model, *self._given(), self._loss, self._samples * self._window)
            self._batches = itertools.cycle(_slices(pool, self._samples))
            self._probe = probe_of(model, next(self._batches).x, self._loss, details=True)
        self._owners = WeightIndex(all_layers(model))
        self._seen: deque[list[np.ndarray | None]] = deque(maxlen=self._window)
        self._file = event_file("log_dir", _folder(self.log_dir), "signal")
        self._file.write(0, [charts()])
        self._measure()
        if self._every is None:
            # What one costs tells how often: the first compiles.
            started = time.perf_counter()
            self._measure(write=False)
            self._last = time.perf_counter()
            self._cost = self._last - started

    def _given(self) -> tuple[Any, Any]:
        if isinstance(self._data, tuple) and len(self._data) == 2:
            return self._data
        return self._data, None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Measures when it is time."""
        self._step += 1
        if self._probe is None:
            self._start()
            return
        if self._every is not None:
            due = self._step % self._every == 0
        else:
            due = time.perf_counter() - self._last >= self._cost / SHARE
        if due:
            started = time.perf_counter()
            self._measure()
            self._last = time.perf_counter()
            self._cost = self._last - started

    def on_train_end(self, logs: Any = None) -> None:
        """Measures the trained model."""
        if self._file is not None and self._written != self._step:
            self._measure()
        self._file = self._probe = None

    def _measure(self, write: bool = True) -> None:
        assert self._probe is not None
        assert self._file is not None
        # On JAX this brings the weights of the training into the model.
        model = self.model
        with untouched(model):
            _, gradients = self._probe.run(next(self._batches), jit_compile=False)
        self.rows = tuple(rows_of(self._probe, gradients, self._owners))
        self._seen.append([None if e is None else ops.convert_to_numpy(e) for e in self._probe.extremes])
        if write:
            self.measured += 1
            self._written = self._step
            self._file.write(self._step, self._summaries(gradients))

    def _summaries(self, gradients: dict[int, list[float]]) -> list[Any]:
        assert self._probe is not None
        found = []
        for number, row in enumerate(self.rows):
            name = name_of(row)
            found += scalars(row)
            if (dead := self._dead(number)) is not None:
                found.append(scalar(f"dead units/{name}", dead))
            if not self._histograms:
                continue
            kernel = self._probe.places[number].kernel
            counts = {
                "pre-activations": [float(n) for n in ops.convert_to_numpy(self._probe.histograms[number])],
                "gradients": gradients.get(id(kernel), [])[len(reductions.GRADIENT) :],
                "weights": _counted(kernel),
            }
            for title, values in counts.items():
                if (made := _histogram(values)) is not None:
                    found.append(histogram(f"{title}/{name}", made))
        return found

    def _dead(self, number: int) -> float | None:
        """The share of units that returned the same in all measurements of the window; None without any."""
        seen = [one[number] for one in self._seen]
        known = [values for values in seen if values is not None]
        if not known:
            return None
        least, most = np.min([v[0] for v in known], axis=0), np.max([v[1] for v in known], axis=0)
        largest = max(np.max(np.abs(least)), np.max(np.abs(most)))
        return float(np.mean(most - least <= _SAME * largest))


def _slices(pool: Batch, size: int) -> list[Batch]:
    """Batches of `size` samples; the one that is left, if there are no more."""
    count = len(keras.tree.flatten(pool.x)[0])
    size = min(size, count)
    cut = [slice(start, start + size) for start in range(0, count - size + 1, size)]
    return [
        Batch(*(None if p is None else keras.tree.map_structure(lambda v, s=s: v[s], p) for p in pool))
        for s in cut
    ]


def _folder(log_dir: Path) -> Path:
    """`log_dir`, or the first `log_dir/fit_N` without events of an earlier training."""
    folders = itertools.chain([log_dir], (log_dir / f"fit_{n}" for n in itertools.count(2)))
    return next(f for f in folders if not list(f.glob("events.out.tfevents.*.signal.keras_initx")))


def _counted(kernel: keras.Variable) -> list[float]:
    return [float(n) for n in ops.convert_to_numpy(reductions.histogram(kernel))]


def _histogram(values: list[float]) -> Histogram | None:
    """What the pass counted, with edges that differ; None where there was nothing finite."""
    if not values or not math.isfinite(values[0]) or not sum(values[2:]):
        return None
    least, most, counts = values[0], values[1], values[2:]
    if most - least <= len(counts) * float(np.spacing(max(abs(least), abs(most)))):
        # A range of equal values has no width.
        reach = 0.5 * abs(least) if least else 0.5
        least, most = least - reach, least + reach
        counts = [0.0] * len(counts)
        counts[len(counts) // 2] = sum(values[2:])
    edges = np.linspace(least, most, len(counts) + 1)
    return Histogram(tuple(map(float, edges)), tuple(map(int, counts)))
