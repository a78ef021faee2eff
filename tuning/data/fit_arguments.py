"""The arguments of `model.fit`, which every run of a search receives alike."""

import copy
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from numbers import Integral
from typing import Any

import keras
import numpy as np

from keras_initx.errors import InitxError, check_positive, error_line

from .batches import Batch, first_batches, is_arrays, made, row_count

_NAMES = tuple(name for name in inspect.signature(keras.Model.fit).parameters if name != "self")
# A validation set of up to this many training batches is evaluated as a single batch.
_BATCHES_AT_ONCE = 16
_DEFAULT_BATCH_SIZE = 32


class FitArguments:
    """The arguments of `keras.Model.fit`, for runs that share everything but the weights.

    `x` and `validation_data` are whatever `fit` accepts, or a function without arguments that returns
    batches, such as a tf.data pipeline: each run calls the function. Where it returns a generator, the run
    calls it again whenever that ends. Callbacks are copied for each run.

    Args:
        args, kwargs: As in `fit`.

    Raises:
        InitxError: `fit` has no such argument, or an argument cannot serve several runs.
    """

    def __init__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.values = _by_name(args, kwargs)
        self.epochs = check_positive("epochs", self.values.get("epochs", 1))
        for name, steps in (("x", "steps_per_epoch"), ("validation_data", "validation_steps")):
            _check_repeats(name, self.values.get(name))
            _check_steps(name, steps, self.values.get(name), self.values.get(steps))
        self._check_arrays_only()

    def _check_arrays_only(self) -> None:
        """Raise an `InitxError` for arguments that `fit` takes with arrays only, or cannot use at all."""
        if self.x is not None and not is_arrays(self.x):
            for name in ("y", "sample_weight", "validation_split"):
                if self.values.get(name) is not None and not _is_zero(self.values[name]):
                    allowed = f"None if `x` is a {type(self.x).__name__}, whose batches contain it"
                    raise InitxError(name, type(self.values[name]).__name__, allowed)
        weights = self.values.get("class_weight")
        if weights is not None and not isinstance(weights, Mapping):
            remedy = "For example {0: 1.0, 1: 9.0}."
            raise InitxError("class_weight", weights, "a dictionary of weights by class number", remedy)
        if weights is not None and keras.tree.is_nested(self.values.get("y")):
            problem = "`class_weight` works only with a single array of labels"
            remedy = "Pass `sample_weight` with an array for each output."
            raise InitxError("class_weight", weights, "None for several outputs", remedy, problem)
        for callback in _listed(self.values.get("callbacks")):
            if isinstance(callback, type):
                raise InitxError(
                    "callbacks", callback, "callbacks, not classes", f"Pass {callback.__name__}()."
                )

    @property
    def x(self) -> Any:
        """The training inputs, or the object that yields training batches."""
        return self.values.get("x")

    @property
    def batch_size(self) -> int:
        """The number of rows in each training step, if the data are arrays."""
        return int(self.values.get("batch_size") or _DEFAULT_BATCH_SIZE)

    @property
    def validates(self) -> bool:
        """Whether each epoch ends with a validation."""
        return self.values.get("validation_data") is not None or bool(self.values.get("validation_split"))

    @property
    def rows(self) -> int | None:
        """The number of training rows; None unless the data are arrays."""
        return row_count(self.x) if is_arrays(self.x) else None

    @cached_property
    def validation(self) -> "FitArguments | None":
        """The validation data as arguments of their own; None without `validation_data`."""
        data = self.values.get("validation_data")
        if data is None:
            return None
        steps, size = self.values.get("validation_steps"), self.values.get("validation_batch_size")
        return evaluation(data, batch_size=size or self._validation_batch, steps_per_epoch=steps)

    @property
    def _validation_batch(self) -> int | None:
        """The validation batch size of arrays: few rows form one batch, as XLA compiles each batch size."""
        data = self.values.get("validation_data")
        x = data[0] if isinstance(data, tuple | list) and data else None
        if x is None or not is_arrays(x):
            return None
        rows = row_count(x)
        return rows if rows <= _BATCHES_AT_ONCE * self.batch_size else self.batch_size

    def for_run(self, **replaced: Any) -> dict[str, Any]:
        """Return keyword arguments for one call of `fit`.

        Args:
            **replaced: Arguments that differ in this run.
        """
        values = {"verbose": 0, **self.values, **replaced}
        for name in {"x", "validation_data"} & values.keys():
            values[name] = _for_one_run(name, values[name])
        if not is_arrays(self.x) and not isinstance(values.get("x"), keras.utils.PyDataset):
            # Keras shuffles by default, and warns that it cannot shuffle such data.
            values.setdefault("shuffle", False)
        if values.get("validation_batch_size") is None and self._validation_batch:
            values["validation_batch_size"] = self._validation_batch
        return values

    def for_evaluation(self) -> dict[str, Any]:
        """Return keyword arguments for one call of `evaluate` on this data."""
        names = {"x": "x", "y": "y", "sample_weight": "sample_weight", "batch_size": "batch_size"}
        names["steps"] = "steps_per_epoch"
        values = {name: self.values[source] for name, source in names.items() if source in self.values}
        values["x"] = _for_one_run("x", values["x"])
        return {**values, "verbose": 0, "return_dict": True}

    def evaluate(self, model: keras.Model, batch_size: int | None = None) -> dict[str, float]:
        """Return the loss and the metrics of a model on this data, by name.

        Args:
            model: The model.
            batch_size: The number of rows at a time, if the data are arrays; None keeps the current one.
        """
        arguments = self.for_evaluation()
        if batch_size is not None:
            arguments["batch_size"] = batch_size
        return {name: float(np.mean(value)) for name, value in model.evaluate(**arguments).items()}

    @cached_property
    def batches(self) -> list[Batch]:
        """Up to two training batches, read from the data once; rows of arrays come from all over them."""
        return first_batches(self.values, self.batch_size, count=2)

    def trimmed(self, rows: int) -> "FitArguments":
        """Return the arguments with the first rows of the training arrays only."""
        cut = {
            name: keras.tree.map_structure(lambda array: array[:rows], self.values[name])
            for name in ("x", "y", "sample_weight")
            if self.values.get(name) is not None
        }
        return FitArguments((), {**self.values, **cut})


def evaluation(data: Any, batch_size: int | None = None, **more: Any) -> FitArguments:
    """Return the arguments for data in the form of `validation_data`: (x, y), (x, y, weights) or batches.

    Arguments are returned as they are.

    Raises:
        InitxError: The data are batches that do not end, or can be read only once, without a number of steps.
            Those of `validation_data` have been checked before, so they are `test_data`.
    """
    if isinstance(data, FitArguments):
        return data
    more = {name: value for name, value in more.items() if value is not None}
    if "steps_per_epoch" not in more and (_is_read_once(own := made(data)) or _is_endless(own)):
        remedy = "Pass arrays, or the batches of one pass, such as dataset.take(10)."
        kind = type(data).__name__
        raise InitxError("test_data", kind, "data that can be read several times, and end", remedy)
    if isinstance(data, tuple | list):
        parts = zip(("x", "y", "sample_weight"), data, strict=False)
        return FitArguments((), {**dict(parts), **({"batch_size": batch_size} if batch_size else {}), **more})
    return FitArguments((), {"x": data, **more})


def first_inputs(
    args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return a batch of the inputs among the arguments of one call of `fit`, and the arguments for that call.

    An iterator has then been replaced by one that begins again with the batch that was read.
    """
    args, kwargs = tuple(args), dict(kwargs)
    data: Any = kwargs["x"] if "x" in kwargs else args[0] if args else None
    if not _is_read_once(data):
        return FitArguments(args, kwargs).batches[0].x, args, kwargs
    first = next(data)
    # Keras takes generators, but no other iterators.
    data = (batch for batch in itertools.chain([first], data))
    inputs = first[0] if isinstance(first, tuple) else first
    if "x" in kwargs:
        return inputs, args, {**kwargs, "x": data}
    return inputs, (data, *args[1:]), kwargs


def copied_callbacks(callbacks: Any) -> list[Any]:
    """Return deep copies of the user's callbacks, so that no run sees the state of another.

    Raises:
        InitxError: A callback cannot be copied.
    """
    try:
        return copy.deepcopy(_listed(callbacks))
    except Exception as error:
        allowed = "callbacks that copy.deepcopy can copy, since every run gets its own"
        remedy = f"copy.deepcopy: {error_line(error)}."
        raise InitxError("callbacks", callbacks, allowed, remedy) from error


def _is_zero(value: Any) -> bool:
    return isinstance(value, int | float | np.number | np.ndarray) and np.ndim(value) == 0 and value == 0


def _listed(callbacks: Any) -> list[Any]:
    # As Keras reads them, which takes lists and dictionaries within lists.
    return keras.tree.flatten(callbacks) if callbacks else []


def _is_endless(data: Any) -> bool:
    """Return whether a tf.data pipeline repeats forever, which its cardinality of -1 shows."""
    return hasattr(data, "cardinality") and hasattr(data, "take") and int(data.cardinality()) == -1


def _by_name(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    if len(args) > len(_NAMES):
        raise InitxError("args", len(args), f"at most {len(_NAMES)} arguments, as in fit")
    values = dict(zip(_NAMES, args, strict=False))
    for name, value in kwargs.items():
        if name not in _NAMES:
            near = get_close_matches(name, _NAMES, n=1)
            allowed = f"one of the arguments of keras.Model.fit: {', '.join(_NAMES)}"
            remedy = f"Did you mean `{near[0]}`?" if near else f"`fit` has {', '.join(_NAMES)}."
            raise InitxError(name, value, allowed, remedy, f"`{name}` is not an argument of `fit`")
        if name in values:
            raise InitxError(name, value, "passed once", f"It is already argument {_NAMES.index(name) + 1}.")
        values[name] = value
    for name in {"x", "y", "sample_weight", "validation_data"} & values.keys():
        values[name] = _without_series(values[name])
    if is_arrays(values.get("x")):
        values["x"] = keras.tree.map_structure(_string_tensor, values["x"])
    # Keras takes an int or a list alone, and reads 0 steps as None.
    every = values.get("validation_freq")
    if isinstance(every, Integral | tuple) and not isinstance(every, bool):
        values["validation_freq"] = list(every) if isinstance(every, tuple) else int(every)
    elif every is None:
        values.pop("validation_freq", None)
    if _is_zero(values.get("validation_steps")):
        del values["validation_steps"]
    return values


def _string_tensor(values: Any) -> Any:
    """Return a one-dimensional array of `str` objects as the tensor that `fit` makes of it on TensorFlow."""
    is_objects = isinstance(values, np.ndarray) and values.dtype.kind == "O" and values.ndim == 1
    if is_objects and keras.config.backend() == "tensorflow" and all(isinstance(v, str) for v in values):
        return keras.ops.convert_to_tensor(values, dtype="string")
    return values


def _without_series(values: Any) -> Any:
    """Return values with each pandas Series converted to a column, as `fit` does.

    In a compiled step Keras loses the shape of a Series.
    """
    is_structure = type(values) in (list, tuple, dict) and not (values and np.isscalar(next(iter(values))))
    if is_structure or (isinstance(values, dict) and values):
        return keras.tree.map_structure(_without_series, values)
    is_series = type(values).__module__.startswith("pandas") and getattr(values, "ndim", 0) == 1
    return np.expand_dims(values.to_numpy(), axis=-1) if is_series else values


def _check_repeats(name: str, data: Any) -> None:
    """Raise an `InitxError` for data that can be read only once."""
    if _is_read_once(data):
        kind = type(data).__name__
        allowed = "data that can be read several times, since a search trains many models"
        remedy = f"Pass a function that returns a new {kind} each time, such as {name}=lambda: batches()."
        raise InitxError(name, kind, allowed, remedy)


def _check_steps(name: str, steps: str, data: Any, count: Any) -> None:
    """Raise an `InitxError` for data of unknown length without a number of steps."""
    own = made(data)
    if own is not data and is_arrays(own):
        allowed, remedy = "a function that returns batches", "Pass the arrays themselves."
        problem = f"`{name}` is a function that returns arrays"
        raise InitxError(name, type(own).__name__, allowed, remedy, problem)
    if count is not None:
        return
    if own is not data and _is_read_once(own):
        problem = f"`{steps}` is missing: `{name}` is a function that returns a generator"
        remedy = "Pass the number of batches, since a generator has no length."
        raise InitxError(steps, None, "an integer >= 1", remedy, problem)
    if _is_endless(own):
        problem = f"`{steps}` is missing: `{name}` repeats forever"
        raise InitxError(steps, None, "an integer >= 1", "Pass the number of batches.", problem)


def _is_read_once(data: Any) -> bool:
    return isinstance(data, Iterator) or inspect.isgenerator(data)


def _for_one_run(name: str, data: Any) -> Any:
    """Return data as one run reads them: what a function makes, where a generator begins again at its end."""
    own = made(data)
    return _endless(name, data, own) if own is not data and _is_read_once(own) else own


def _endless(name: str, function: Callable[[], Any], batches: Any) -> Iterator[Any]:
    """Yield the batches of a generator, and of a new one whenever it ends."""
    while True:
        batch = None
        for batch in batches:
            yield batch
        batches = function()
        if batch is None:
            raise InitxError(name, "a generator without batches", "a function whose generator yields batches")
