"""Copies what matches from a trained model or file, and says what did not, and why."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_initx.errors import InitxError
from keras_initx.snapshot import Snapshot


@dataclass
class Copied:
    """What was copied, and what not.

    Attributes:
        variables: The identities of the variables that were set.
        matched: Their paths.
        missing: Paths in the model for which there was nothing, with the reason.
        unused: Paths in the source that nothing in the model has.
    """

    variables: set[int] = field(default_factory=set)
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def notes(self) -> Iterator[str]:
        """The report, for the plan."""
        if self.matched:
            yield f"pretrained: {len(self.matched)} weights copied"
        for line in self.missing:
            yield f"pretrained: {line}"
        for path in self.unused:
            yield f"pretrained: {path} is not in this model"


def copy_pretrained(model: keras.Model, source: Any) -> Copied:
    """Sets every weight of `model` for which `source` has one of its path and shape.

    Args:
        model: A built model.
        source: A built model, or the path of a `.keras` or `.weights.h5` file.

    Raises:
        InitxError: Something else, a file that is not there or cannot be read, or one of which nothing
            matches.
    """
    values = dict(_values(model, source))
    copied = Copied()
    unused = set(values)
    for variable in model.variables:
        path = _within(variable, model)
        if not _is_weight(variable):
            continue
        if path not in values:
            copied.missing.append(f"{path} is not in the source")
            continue
        unused.discard(path)
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
        remedy = (
            f"The source has {', '.join(sorted(values)[:3])} ...; this model "
            f"{_within(model.variables[0], model)} ..."
        )
        raise InitxError("pretrained", _name(source), "a source of which a path and shape match", remedy)
    return copied


def _within(variable: keras.Variable, model: keras.Model) -> str:
    """A variable's path inside of a model: some put their own name first, a functional one does not."""
    return variable.path.removeprefix(f"{model.name}/")


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
        raise InitxError("pretrained", source, "a model, or the path of a .keras or .weights.h5 file")
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
