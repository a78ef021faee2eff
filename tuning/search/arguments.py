"""Check the arguments of `search`, and that the model trains on the data, before anything is written."""

import hashlib
from collections.abc import Mapping
from typing import Any

import keras
import keras_tuner
import numpy as np

from keras_initx.diagnostics import check_classes
from keras_initx.errors import InitxError, check_positive, error_line

from ..data import (
    Dataset,
    FitArguments,
    check_data,
    checked_test,
    has_own_step,
    is_arrays,
    row_count,
)
from ..space import InitializerHyperModel
from ..study import TO_TARGET
from ..training import (
    architecture,
    check_batch_sizes,
    check_target,
    check_validates,
    missing_objective,
)
from .directions import objectives_of


def check_kinds(values: Mapping[str, object], kinds: Mapping[str, tuple[Any, str]]) -> None:
    """Raise an `InitxError` for a value of the wrong type; `kinds` has the type and its words by argument."""
    for argument, (kind, text) in kinds.items():
        if not isinstance(values[argument], kind):
            raise InitxError(argument, values[argument], text)


def fit_of(
    hypermodel: InitializerHyperModel, x: Any, y: Any, test_data: Any, epochs: int, fit: Mapping[str, Any]
) -> tuple[FitArguments | None, FitArguments | None, tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of `fit`, the test data, and the arguments of the tuner's `search`.

    The first is None if the user's HyperModel trains by code of its own, whose arguments may be anything.

    Args:
        hypermodel: Builds and trains the model.
        x, y: As in `fit`; or x is a `Dataset`, which has all its parts.
        test_data: Data in the form of `validation_data`, or None.
        epochs: The largest number of epochs.
        fit: Further arguments of `fit`.

    Raises:
        InitxError: If an argument is not one of `fit`, or the data cannot be used.
    """
    arguments = dict(fit)
    if isinstance(x, Dataset):
        for name, value in (("y", y), ("test_data", test_data), *fit.items()):
            if value is not None and name in ("y", "test_data", "validation_data", "validation_split"):
                remedy = "Leave it out, since the Dataset has all its parts."
                raise InitxError(name, _kind(value), "None if `x` is a Dataset", remedy)
        data = x
        x, y, test_data = data.x_train, data.y_train, (data.x_test, data.y_test)
        arguments["validation_data"] = data.x_validation, data.y_validation
    if (
        isinstance(x, tuple)
        and len(x) == 2
        and y is None
        and hasattr(x[0], "shape")
        and not hypermodel.has_own_fit
    ):
        problem = "`x` is a pair of arrays, and `y` is missing"
        remedy = "Pass search(model, x, y); a model of two inputs takes a list."
        raise InitxError("x", "a pair", "the inputs alone", remedy, problem)
    if _is_pairs(x) and y is None:
        problem = "`x` holds pairs of inputs and labels"
        remedy = "As in fit: search(model, x, y, validation_data=(x_val, y_val), test_data=(x_test, y_test))."
        raise InitxError("x", "pairs", "the inputs alone", remedy, problem)
    if not hypermodel.has_own_fit or hypermodel.fit_takes("epochs"):
        arguments["epochs"] = epochs
    if hypermodel.has_own_fit and not hypermodel.fit_takes("verbose"):
        arguments.pop("verbose", None)
    test = checked_test(test_data)
    passed = {name: value for name, value in (("x", x), ("y", y)) if value is not None}
    if hypermodel.has_own_fit and hypermodel.fit_takes_positional(len(passed)):
        return None, test, tuple(passed.values()), arguments
    arguments |= passed
    if hypermodel.has_own_fit:
        return None, test, (), arguments
    data_arguments = FitArguments((), arguments)
    check_data(data_arguments)
    return data_arguments, test, (), arguments


def _is_pairs(x: Any) -> bool:
    return (
        isinstance(x, tuple | list)
        and len(x) in (2, 3)
        and all(isinstance(part, tuple) and len(part) == 2 for part in x)
    )


def _kind(value: Any) -> str:
    return type(value).__name__


def check_model(
    hypermodel: InitializerHyperModel,
    data: FitArguments | None,
    test: FitArguments | None,
    objective: Any,
) -> tuple[keras_tuner.Objective, keras_tuner.HyperParameters, str]:
    """Build the model once, train it on a small batch and evaluate it.

    Args:
        hypermodel: Builds the model.
        data: The arguments of `fit`; None if the HyperModel trains by code of its own.
        test: The test data, or None.
        objective: The name of a metric that the model must report, a `keras_tuner.Objective`, or None.

    Returns:
        The objective with its direction, the search space and a description of the model.

    Raises:
        InitxError: If the model cannot be built, does not train or evaluate on the data, lacks the
            objective, or the objective's direction is unknown.
    """
    hp = keras_tuner.HyperParameters()
    hypermodel.declare_hyperparameters(hp)
    batch = None if data is None else data.batches[0].first_rows(2)
    hypermodel.inputs = None if batch is None else batch.x
    model = hypermodel.build(hp)
    # A condition that did not hold may hide hyperparameters, which only further builds show.
    hypermodel.explored = None if hp.inactive_scopes else hp
    text = f"{model.count_params()} parameters" if model.built else model.name
    key = architecture(model)
    if key is not None:
        text += f" [{hashlib.sha256(key.encode()).hexdigest()[:12]}]"
    objectives = objectives_of(objective, lambda: _output_names(model, hypermodel.inputs))
    if data is None or batch is None:
        return objectives[0], hp, text
    check_batch_sizes(hypermodel, data.values, data)
    check_validates(objectives[0], data)
    # Eagerly, since compiling would take longer than this one step.
    model.run_eagerly, model.jit_compile = True, False
    # Training code of the user's own may change the labels first.
    if not has_own_step(model):
        _check_labels(model, batch.x, {"y": data, "validation_data": data.validation, "test_data": test})
    try:
        logs = batch.train(model)
    except Exception as error:
        remedy = f"{_label_remedy(model.loss, batch.y)}Keras: {error_line(error)}."
        problem = f"`model` {model.name!r} does not train on the data"
        raise InitxError("model", model.name, "a model that trains on the data", remedy, problem) from error
    for argument, part in (("validation_data", data.validation), ("test_data", test)):
        if part is not None:
            _check_evaluates(model, argument, part)
    names = [*([f"val_{name}" for name in logs] if data.validates else []), *logs]
    missing = [[name for name in _metric_names(objective) if name not in names] for objective in objectives]
    if all(missing):
        remedy = "Add it to metrics=[...] when you compile the model, or pass another objective."
        raise missing_objective(missing[0][0], names, remedy)
    return objectives[missing.index([])], hp, text


def _output_names(model: keras.Model, x: Any) -> list[str]:
    """Return the names of a model's outputs, which the names of their metrics begin with."""
    try:
        outputs = model.output if x is None else model(x)
    except Exception:
        # The training step that follows raises it too, and its error says more.
        outputs = None
    return [*getattr(model, "output_names", ()), *(outputs if isinstance(outputs, Mapping) else ())]


def _metric_names(objective: Any) -> list[str]:
    parts = getattr(objective, "objectives", [objective])
    return [part.name for part in parts]


def _check_labels(model: keras.Model, x: Any, parts: Mapping[str, FitArguments | None]) -> None:
    """Raise an `InitxError` for class numbers that the model has no output for.

    Of arrays all labels are read, of everything else the first batches.

    Args:
        model: The compiled model.
        x: Inputs of a few rows.
        parts: The parts of the data by the names that errors give to their labels.
    """
    try:
        outputs = model(x)
    except Exception:
        # The training step that follows raises it too, and its error says more.
        return
    if not all(map(keras.ops.is_tensor, keras.tree.flatten(outputs))):
        return

    def of_rows(count: int) -> Any:
        return keras.tree.map_structure(lambda out: keras.KerasTensor((count, *out.shape[1:])), outputs)

    for argument, part in parts.items():
        pairs = [] if part is None else [(batch.x, batch.y) for batch in part.batches]
        if part is not None and is_arrays(part.x):
            pairs = [(part.x, part.values.get("y"))]
        for rows, y in pairs:
            labels = keras.tree.map_structure(np.asarray, y)
            if all(values.dtype.kind in "biuf" for values in keras.tree.flatten(labels)):
                results = of_rows(row_count(rows))
                check_classes(model, labels, None, None, results, argument, numbers_only=True)


def _check_evaluates(model: keras.Model, argument: str, part: FitArguments) -> None:
    """Raise an `InitxError` for evaluation data whose form the model does not accept."""
    batch = part.batches[0].first_rows(2)
    try:
        batch.test(model)
    except Exception as error:
        shapes = f"x of shape {_shape(batch.x)} and y of shape {_shape(batch.y)}"
        allowed = "data that the model can be evaluated on"
        problem = f"`{argument}` must be {allowed}, got {shapes}"
        remedy = f"{_label_remedy(model.loss, batch.y)}Keras: {error_line(error)}."
        raise InitxError(argument, shapes, allowed, remedy, problem) from error


def _shape(values: Any) -> str:
    """Return the shape of each array, with "rows" for the number of rows, as one text."""
    shapes = keras.tree.map_structure(
        lambda v: f"({', '.join(['rows', *map(str, np.shape(v)[1:])])})", values
    )
    return str(shapes).replace("'", "")


def _label_remedy(loss: Any, labels: Any) -> str:
    """Return what to do if a loss for class numbers meets one-hot labels, or the reverse; "" otherwise."""
    name = (loss if isinstance(loss, str) else getattr(loss, "name", getattr(loss, "__name__", ""))) or ""
    one_hot = np.ndim(labels) == 2 and np.shape(labels)[1] > 1
    if name == "sparse_categorical_crossentropy" and one_hot:
        return f"The labels are one-hot, of shape {np.shape(labels)}. Compile with categorical_crossentropy. "
    if name == "categorical_crossentropy" and not one_hot:
        return "The labels are class numbers. Compile with sparse_categorical_crossentropy. "
    return ""


def plain_values(fit: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `fit`, except data, that change its results, to compare when one resumes."""
    names = ("class_weight", "validation_split", "shuffle", "steps_per_epoch", "validation_steps")
    values = {
        name: fit[name] for name in (*names, "validation_freq", "initial_epoch") if fit.get(name) is not None
    }
    if isinstance(weights := values.get("class_weight"), Mapping):
        values["class_weight"] = {str(key): float(weight) for key, weight in weights.items()}
    return {
        name: value.item() if isinstance(value, np.generic | np.ndarray) else value
        for name, value in values.items()
    }


def fingerprint(*parts: FitArguments | None) -> str:
    """Return a short hash by which a resumed search recognizes its data.

    It covers all values of arrays, and the type and the shapes of a batch of everything else.
    """
    digest = hashlib.sha256()
    for part in parts:
        if part is None:
            continue
        leaves = [part.x, part.values.get("y"), part.values.get("sample_weight")]
        if not is_arrays(part.x):
            batch = part.batches[0]
            digest.update(type(part.x).__name__.encode())
            leaves = [f"{np.shape(v)[1:]}" for v in keras.tree.flatten((batch.x, batch.y)) if v is not None]
        for leaf in keras.tree.flatten(leaves):
            if hasattr(leaf, "tocsr"):
                csr = leaf.tocsr()
                digest.update(b"".join(part.tobytes() for part in (csr.data, csr.indices, csr.indptr)))
            elif leaf is not None:
                values = np.ascontiguousarray(leaf)
                digest.update(f"{values.shape}{values.dtype}".encode())
                digest.update(
                    values.tobytes() if values.dtype.kind != "O" else repr(values.tolist()).encode()
                )
    return digest.hexdigest()[:12]


def check_extra_seeds(extra_seeds: object) -> None:
    """Raise an `InitxError` for a number of further seeds that is not an integer in its range."""
    if isinstance(extra_seeds, bool) or not isinstance(extra_seeds, int) or extra_seeds < 0:
        raise InitxError("extra_seeds", extra_seeds, "an integer >= 0")


def trials_of(trials: int | None, tuner: object) -> int | None:
    """Return the number of trials: by default 20, or None, which means all, for a grid."""
    if trials is not None:
        return check_positive("trials", trials)
    return None if tuner == "grid" else 20


def goal_of(metric: keras_tuner.Objective, target: Any) -> keras_tuner.Objective:
    """Return what the study optimizes: the metric, or the epochs until the metric reaches a target.

    Raises:
        InitxError: If the target is not a finite number.
    """
    if target is None:
        return metric
    check_target(target, metric.name)
    return keras_tuner.Objective(f"{TO_TARGET}{metric.name} {target:g}", "min")
