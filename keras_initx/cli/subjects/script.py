"""Load a user's Python file for `keras-initx tune train.py`: its model and the arguments of `fit`."""

import functools
import importlib.util
import inspect
import reprlib
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import keras_tuner

from keras_initx.cli.common import OPTIONS
from keras_initx.errors import InitxError, error_line
from keras_initx.tuning import Dataset, search

from .held_back import are_arrays

# The parameters of `search` that `data()` may return besides the arguments of `fit`.
_OF_DATA = ("x", "y", "epochs", "test_data")
# The names of the files that were run.
_loaded: set[str] = set()
_FORMS = "a dict of arguments of model.fit, a tuple (x, y), or an object that yields batches"


def load_script(file: Path) -> tuple[Any, dict[str, Any]]:
    """Run a Python file and return its model and the arguments of `fit`, for `search`.

    Args:
        file: A file with `build`, which returns a compiled model (with or without an argument `hp`, or a
            `keras_tuner.HyperModel`, or a class of it), and the function `data`, which returns a dictionary
            of arguments of `fit`, a tuple (x, y), or an object that yields batches. Modules next to the file
            can be imported, but do not hide installed ones.

    Raises:
        InitxError: If the file cannot be run, lacks one of the two, or `data` returns something else.
    """
    if not file.is_file():
        allowed = "an existing Python file"
        raise InitxError("FILE", str(file), allowed, problem=f"FILE must be {allowed}, got {str(file)!r}")
    module = _run(file)
    build, data = (_attribute(file, module, name) for name in ("build", "data"))
    with _one_sentence(file, "data() of "):
        values = data()
    return _explained(file, build), _as_arguments(file, values)


def _run(file: Path) -> Any:
    name = file.stem
    if name in sys.modules and name not in _loaded:
        problem = f"FILE {str(file)!r} has the name of the module {name!r}, which is in use"
        raise InitxError("FILE", str(file), "another name", "Rename it.", problem)
    folder = str(file.resolve().parent)
    # At the end, so that a numpy.py next to the file is not imported in place of the installed one.
    if folder not in sys.path:
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(name, file.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Under this name Keras finds the file's classes again when it loads a saved model.
    sys.modules[name] = module
    _loaded.add(name)
    with _one_sentence(file):
        spec.loader.exec_module(module)
    return module


def _attribute(file: Path, module: Any, name: str) -> Any:
    value: Any = getattr(module, name, None)
    if name == "build" and _is_hypermodel(value):
        with _one_sentence(file, "build() of "):
            return value()
    if callable(value) or (name == "build" and isinstance(value, keras_tuner.HyperModel | keras.Model)):
        return value
    problem = f"FILE {str(file)!r} has no function {name}()"
    remedy = "Define build(hp), which returns a compiled model, and data(), which returns what fit takes."
    own = [key for key, v in vars(module).items() if _is_hypermodel(v) and v.__module__ == module.__name__]
    if name == "build" and own:
        remedy = f"Add a line: build = {own[-1]}."
    raise InitxError("FILE", str(file), "a file with build(hp) and data()", remedy, problem)


def _is_hypermodel(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, keras_tuner.HyperModel)


def _as_arguments(file: Path, values: Any) -> dict[str, Any]:
    """Return what `data()` returned as arguments of `search`.

    Raises:
        InitxError: If it holds no data, or names an option of `search` that is not an argument of `fit`.
    """
    problem = f"data() of {str(file)!r} must return {_FORMS}"
    if values is None or (isinstance(values, Mapping) and "x" not in values and _holds_arrays(values)):
        got = "None" if values is None else f"a dict with {', '.join(map(str, values))} and no x"
        remedy = 'Inputs by name go into x: return {"x": {...}, "y": y}.'
        raise InitxError("data()", got, _FORMS, remedy, f"{problem}, got {got}")
    if isinstance(values, Mapping):
        options = set(inspect.signature(search).parameters).difference(_OF_DATA, ("fit",))
        for name in values:
            if name in options:
                raise InitxError(
                    "data()",
                    name,
                    "arguments of model.fit",
                    f"Use the option {OPTIONS[name]}." if name in OPTIONS else "",
                    f"data() of {str(file)!r} returns {name!r}, which is not an argument of model.fit",
                )
        arguments = dict(values)
    elif isinstance(values, tuple):
        if len(values) not in (1, 2, 3) or any(isinstance(part, tuple) for part in values):
            remedy = 'For example {"x": x, "y": y, "validation_data": (x_val, y_val)}.'
            got = f"a tuple of {len(values)}" + (", which holds tuples" if len(values) in (1, 2, 3) else "")
            raise InitxError("data()", got, _FORMS, remedy, f"{problem}, got {got}")
        arguments = dict(zip(("x", "y", "sample_weight"), values, strict=False))
    else:
        arguments = {"x": values}
    x = arguments.get("x")
    if x is not None and not _is_data(x):
        got = f"{'' if x is values else 'x='}{reprlib.repr(x)}"
        remedy = 'For example {"x": x, "y": y}, with arrays x and y.'
        raise InitxError("data()", got, _FORMS, remedy, f"{problem}, got {got}")
    return arguments


def _is_data(x: Any) -> bool:
    """Return whether `fit` may take an object for x: arrays, or an object that yields batches."""
    if callable(x) or isinstance(x, Dataset | keras.utils.PyDataset) or are_arrays(x):
        return True
    return isinstance(x, Iterable) and not isinstance(x, str | bytes | list | tuple | Mapping | Set)


def _holds_arrays(values: Mapping[str, Any]) -> bool:
    return not values or all(hasattr(value, "shape") for value in values.values())


def _explained(file: Path, build: Any) -> Any:
    """Wrap `build` so that its exceptions become one sentence; return a HyperModel or a model unchanged."""
    if isinstance(build, keras_tuner.HyperModel | keras.Model):
        return build
    function: Callable[..., Any] = build

    @functools.wraps(function)
    def explained(*args: Any, **kwargs: Any) -> Any:
        with _one_sentence(file, "build() of "):
            return function(*args, **kwargs)

    return explained


@contextmanager
def _one_sentence(file: Path, part: str = "") -> Iterator[None]:
    """Raise an `InitxError` with the line of the file for any exception that its code raises.

    Raises:
        InitxError: The code in the `with` block raised an exception, or ended the program.
    """
    try:
        yield
    except (InitxError, keras_tuner.errors.FailedTrialError, keras_tuner.errors.FatalError):
        raise
    except (Exception, SystemExit) as error:
        own = [
            f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(file.resolve())
        ]
        # A SyntaxError names its line itself.
        where = f", line {own[-1]}" if own and not isinstance(error, SyntaxError) else ""
        problem = f"{part}{str(file)!r} cannot be run ({error_line(error)}{where})"
        if not part:
            problem = f"FILE {problem}"
        raise InitxError("FILE", str(file), "a Python file that runs", "Correct it.", problem) from error
