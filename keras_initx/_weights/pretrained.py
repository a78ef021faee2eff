"""Copies what matches from a trained model or file, and says what did not, and why."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_initx._weights.snapshot import Snapshot
from keras_initx.errors import InitxError


@dataclass
class Copied:
    """What was copied, and what not.

    Attributes:
        variables: The identities of the variables that were set.
        matched: Their paths.
        missing: Paths in the model for which there was nothing, with the reason.
        unused: Paths in the source that nothing in the model has.
        by_order: Whether the weights were matched by their order, since no path was the same.
    """

    variables: set[int] = field(default_factory=set)
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    by_order: bool = False

    def notes(self) -> Iterator[str]:
        """The report, for the plan."""
        if self.matched:
            how = ", in their order: the names differ, the shapes do not" if self.by_order else ""
            yield f"pretrained: {len(self.matched)} weights copied{how}"
        for line in self.missing:
            yield f"pretrained: {line}"
        for path in self.unused:
            yield f"pretrained: {path} is not in this model"


def copy_pretrained(
    model: keras.Model, source: Any, wanted: Callable[[keras.Variable], bool] = lambda variable: True
) -> Copied:
    """Sets every weight of `model` for which `source` has one of its path and shape.

    Paths are taken from inside of the model, whatever it is called. A source of which no path matches, but
    all shapes do in their order, is taken for the same model with other names.

    Args:
        model: A built model.
        source: A built model, or the path of a `.keras` or `.weights.h5` file.
        wanted: Which of the model's weights may be set.

    Raises:
        InitxError: Something else, a file that is not there or cannot be read, or one of which nothing
            matches.
    """
    values = dict(_values(model, source))
    weights = {_within(v, model): v for v in model.variables if _is_weight(v)}
    copied = Copied()
    if not set(values) & set(weights) and _shapes(values) == _shapes(weights):
        # The same model, whose layers were given other automatic names.
        values = dict(zip(weights, values.values(), strict=True))
        copied.by_order = True
    unused = set(values)
    for path, variable in weights.items():
        if path not in values:
            copied.missing.append(f"{path} is not in the source")
            continue
        unused.discard(path)
        if not wanted(variable):
            copied.missing.append(f"{path} is left out by only= or skip=")
            continue
        value = values[path]
        if tuple(value.shape) != tuple(variable.shape):
            shapes = f"{tuple(value.shape)} there, {tuple(variable.shape)} here"
            copied.missing.append(f"{path} has another shape: {shapes}")
            continue
        variable.assign(value)
        copied.variables.add(id(variable))
        copied.matched.append(path)
    copied.unused = sorted(unused)
    if not copied.matched:
        here = f"this model {_within(model.variables[0], model)} ..."
        remedy = f"The source has {', '.join(sorted(values)[:3])} ...; {here}"
        if not values:
            remedy = f"Nothing in the file fits a layer of {here}"
        raise InitxError("pretrained", _name(source), "a source of which a path and shape match", remedy)
    return copied


def _within(variable: keras.Variable, model: keras.Model) -> str:
    """A variable's path inside of a model: some put their own name first, a functional one does not."""
    return variable.path.removeprefix(f"{model.name}/")


def _shapes(weights: Mapping[str, Any]) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in weights.values()]


def _is_weight(variable: keras.Variable) -> bool:
    return "float" in keras.backend.standardize_dtype(variable.dtype)


def _name(source: Any) -> str:
    return source.name if isinstance(source, keras.Model) else str(source)


def _values(model: keras.Model, source: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(source, keras.Model):
        for variable in source.variables:
            if _is_weight(variable):
                yield _within(variable, source), keras.ops.convert_to_numpy(variable)
        return
    if not isinstance(source, str | Path):
        allowed = "a model, or the path of a .keras or .weights.h5 file"
        raise InitxError("pretrained", type(source).__name__, allowed)
    path = Path(source)
    if not path.is_file():
        raise InitxError("pretrained", str(path), "a file that is there")
    if path.suffix == ".keras":
        try:
            loaded = keras.saving.load_model(path, compile=False)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise InitxError(
                "pretrained", str(path), f"a file that Keras can load (it raised {reason})"
            ) from error
        yield from _values(model, loaded)
    elif path.name.endswith(".weights.h5"):
        yield from _from_weights(model, path)
    else:
        raise InitxError("pretrained", str(path), "a .keras or .weights.h5 file")


def _from_weights(model: keras.Model, path: Path) -> Iterator[tuple[str, Any]]:
    """The weights that Keras's own loader finds for `model` in a file without paths."""
    weights = [v for v in model.variables if _is_weight(v)]
    with Snapshot(weights) as before:
        try:
            for variable in weights:
                # What is still NaN afterwards was not in the file, or had another shape.
                variable.assign(keras.ops.full_like(keras.ops.convert_to_tensor(variable), float("nan")))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.load_weights(path, skip_mismatch=True)
            loaded = {_within(v, model): keras.ops.convert_to_numpy(v).copy() for v in weights}
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            allowed = f"a file that Keras can load (it raised {reason})"
            raise InitxError("pretrained", str(path), allowed) from error
        finally:
            before.restore()
    yield from ((name, value) for name, value in loaded.items() if not np.all(np.isnan(value)))
