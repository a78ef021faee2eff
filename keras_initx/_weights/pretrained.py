"""Copy the weights that match from a trained model or file, and report the weights that do not match."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_initx._weights.snapshot import Snapshot
from keras_initx.errors import InitxError, error_line


@dataclass
class Copied:
    """The result of a copy.

    Attributes:
        variables: The ids of the variables that were set.
        matched: Their paths.
        missing: The paths of the model's other weights, each with the reason.
        unused: The paths of the source that the model lacks.
        by_order: Whether the weights were matched by their order, because no path matched.
    """

    variables: set[int] = field(default_factory=set)
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    by_order: bool = False

    def notes(self) -> Iterator[str]:
        """Yield notes for the plan."""
        if self.matched:
            how = " by their order: the names differ, but the shapes match" if self.by_order else ""
            yield f"pretrained: {len(self.matched)} weights copied{how}"
        for line in self.missing:
            yield f"pretrained: {line}"
        for path in self.unused:
            yield f"pretrained: {path} is not in this model"


def copy_pretrained(
    model: keras.Model, source: Any, wanted: Callable[[keras.Variable], bool] = lambda variable: True
) -> Copied:
    """Set every weight of `model` for which `source` has a weight of the same path and shape.

    Paths count from inside the model, without its name. If no path matches but all shapes do, in their
    order, the source is taken for the same model with other names.

    Args:
        model: A built model.
        source: A built model, or the path of a `.keras` or `.weights.h5` file.
        wanted: Returns whether a weight of the model may be set.

    Raises:
        InitxError: If the source is something else, if its file is missing or cannot be read, or if no
            weight matches.
    """
    values = dict(_values(model, source))
    weights = {_within(v, model): v for v in model.variables if _is_weight(v)}
    copied = Copied()
    if not set(values) & set(weights) and _shapes(values) == _shapes(weights):
        # The same model, built with other automatic layer names.
        values = dict(zip(weights, values.values(), strict=True))
        copied.by_order = True
    unused = set(values)
    for path, variable in weights.items():
        if path not in values:
            copied.missing.append(f"{path} is not in the source")
            continue
        unused.discard(path)
        if not wanted(variable):
            copied.missing.append(f"{path} is excluded by only= or skip=")
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
        raise InitxError(
            "pretrained",
            _name(source),
            "a source with a weight of the same path and shape",
            _way_out(values, weights),
            f"`pretrained` {_name(source)!r} matches no weight of the model by path and shape",
        )
    return copied


def _way_out(values: Mapping[str, Any], weights: Mapping[str, keras.Variable]) -> str:
    """Return the remedy for a source without a matching weight."""
    if not values:
        return "Its layers must have the names and shapes of the model's layers."
    found = f"It has {_listed(values)}; the model has {_listed(weights)}."
    return found if set(values) & set(weights) else f"{found} Give the layers the same names in both."


def _within(variable: keras.Variable, model: keras.Model) -> str:
    """Return a variable's path inside a model: some models put their name first, functional ones do not."""
    return variable.path.removeprefix(f"{model.name}/")


def _listed(paths: Iterable[str]) -> str:
    """Return up to three paths and the number of the others, for an error."""
    listed = sorted(paths)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


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
        problem = f"`pretrained` must be {allowed}, got an object of type {type(source).__name__}"
        raise InitxError("pretrained", type(source).__name__, allowed, problem=problem)
    path = Path(source)
    if not path.is_file():
        problem = f"`pretrained` file {str(path)!r} does not exist"
        raise InitxError("pretrained", str(path), "an existing file", problem=problem)
    if path.suffix == ".keras":
        try:
            loaded = keras.saving.load_model(path, compile=False)
        except Exception as error:
            raise _cannot_load(path, error) from error
        yield from _values(model, loaded)
    elif path.name.endswith(".weights.h5"):
        yield from _from_weights(model, path)
    else:
        raise InitxError("pretrained", str(path), "a .keras or .weights.h5 file")


def _cannot_load(path: Path, error: Exception) -> InitxError:
    problem = f"`pretrained` file {str(path)!r} cannot be loaded by Keras ({error_line(error)})"
    return InitxError("pretrained", str(path), "a file that Keras can load", problem=problem)


def _from_weights(model: keras.Model, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the weights that Keras's own loader finds for `model` in a file without paths."""
    weights = [v for v in model.variables if _is_weight(v)]
    with Snapshot(weights) as before:
        try:
            for variable in weights:
                # A weight that is still NaN after loading was not in the file, or had another shape.
                variable.assign(keras.ops.full_like(keras.ops.convert_to_tensor(variable), float("nan")))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.load_weights(path, skip_mismatch=True)
            loaded = {_within(v, model): keras.ops.convert_to_numpy(v).copy() for v in weights}
        except Exception as error:
            raise _cannot_load(path, error) from error
        finally:
            before.restore()
    yield from ((name, value) for name, value in loaded.items() if not np.all(np.isnan(value)))
