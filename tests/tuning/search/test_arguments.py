"""Test the checks of the arguments of `search`: each error names the argument, and nothing is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import optuna
import pytest
import scipy.sparse
from keras_initx.tuning import InitializerHyperModel, Range, Results, SearchResult, from_arrays, search
from keras_initx.tuning.data import FitArguments
from keras_initx.tuning.search.arguments import check_model, fingerprint, fit_of

from keras_initx import InitxError

pytestmark = [pytest.mark.check, pytest.mark.one_backend]

Quick = Callable[..., SearchResult]


X, Y = np.zeros((20, 4), "float32"), np.arange(20) % 2
MASKED = np.ma.masked_array(X, np.arange(20)[:, None] == np.zeros(4))


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"epochs": 0}, "epochs"),
        ({"epochs": True}, "epochs"),
        ({"epochs": 1.5}, "epochs"),
        ({"batch_size": -1}, "batch_size"),
        ({"patience": 0}, "patience"),
        ({"extra_seeds": -1}, "extra_seeds"),
        ({"extra_seeds": True}, "extra_seeds"),
        ({"target": "high"}, "target"),
        ({"target": float("nan")}, "target"),
        ({"target": np.inf}, "target"),
        ({"seed": True}, "seed"),
        ({"learning_rates": [True]}, "learning_rates"),
        ({"gains": [True]}, "gains"),
        ({"weight_decays": [0.1, False]}, "weight_decays"),
        ({"trials": 0}, "trials"),
        ({"seeds": 0}, "seeds"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [1, 1]}, "seeds"),
        ({"seeds": [-1]}, "seeds"),
        ({"tuner": "gird"}, "tuner"),
        ({"tuner": "grid", "learning_rates": Range(0.1, 0.2)}, "tuner"),
        ({"initializers": ["he_norml"]}, "initializers"),
        ({"learning_rates": [0]}, "learning_rates"),
        ({"model": 3}, "model"),
        ({"model": lambda: None}, "model"),
        ({"model": lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])}, "model"),
        ({"mode": "resume"}, "results"),
        ({"mode": "continue"}, "mode"),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else v,
)
def test_nothing_is_written(quick: Quick, tmp_path: Path, options: Any, argument: str) -> None:
    with pytest.raises(InitxError) as caught:
        quick(**options)
    assert caught.value.argument == argument
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", ["y", "validation_data", "test_data"])
@pytest.mark.parametrize("kind", ["arrays", "dataset"])
def test_a_class_without_an_output(tmp_path: Path, part: str, kind: str) -> None:
    def build() -> keras.Model:
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    labels = {name: Y.copy() for name in ("y", "validation_data", "test_data")}
    # A few rows at the start do not show it.
    labels[part][11] = 2
    data: dict[str, Any] = {name: (X, y) for name, y in labels.items()}
    if kind == "dataset":
        tf = pytest.importorskip("tensorflow")
        data = {name: tf.data.Dataset.from_tensor_slices(pair).batch(10) for name, pair in data.items()}
    x, y = data.pop("y") if kind == "arrays" else (data.pop("y"), None)
    message = rf"^`{part}` must have class numbers from 0 to 1 for its 2 outputs, got 2\. Give the model 3"
    with pytest.raises(InitxError, match=message):
        search(build, x, y, **data, results=Results(tmp_path / "results", logs=tmp_path / "logs"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("learning_rates", 0.01), ("gains", 3), ("weight_decays", 0.1), ("schedules", 5),
        ("initializers", 3), ("pruner", 5), ("pruner", optuna.pruners.MedianPruner), ("tuner", 5),
        ("tuner", optuna.samplers.TPESampler), ("workers", 2), ("screening", "off"), ("command", "no"),
        ("jit_compile", "yes"), ("mode", 1), ("stopping", 5), ("execution", "gpu"),
        ("seeds", 1.5), ("observers", 3), ("results", 3), ("logs", 3),
    ],
)  # fmt: skip
def test_a_value_of_another_type(quick: Quick, tmp_path: Path, argument: str, value: Any) -> None:
    with pytest.raises(InitxError, match=rf"^`{argument}` must be .+, got "):
        quick(**{argument: value})
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_kernels(quick: Quick, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.ReLU()])
    model.compile("sgd", "mse")
    with pytest.raises(InitxError, match=r"^`model` .* has no layer with a kernel_initializer"):
        quick(model)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_users_function_is_raised_at_once(quick: Quick, tmp_path: Path) -> None:
    def broken() -> keras.Model:
        raise AssertionError("no model today")

    with pytest.raises(AssertionError, match="no model today"):
        quick(broken)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "x` must be training data"),
        (
            ((X, Y), (X[:0], Y[:0])),
            "x` of `validation_data` must have at least one row",
        ),
        (((X, Y[:5]), (X, Y)), "x` and `y` must have the same number of rows, got 20 and 5\\."),
        (
            ((X, Y), (X, Y), (X, Y[1:])),
            "x` and `y` of `test_data` must have the same number of rows, got 20 and 19\\.",
        ),
        (((MASKED, Y), (X, Y)), "x` must have no masked values, got an array with 4 of them"),
        (((X, Y), (X, MASKED[:, 0])), "validation_data` must have no masked values, got an array with 1 of"),
        (((X, Y), (X[:, :3], Y)), r"validation_data` must be data that .*, got x of shape \(rows, 3\)"),
        (((X, Y), (X, Y), (X, np.eye(2)[Y])), r"test_data` must be data that .* y of shape \(rows, 2\)"),
        (
            ((np.array(["a"] * 20), Y), (X, Y)),
            r"x` must be numbers, got dtype <U1\. Pass .* or, on TensorFlow, tf\.constant\(array\)\.",
        ),
        ((({"a": np.array(["a"] * 20)}, Y), (X, Y)), r"x\['a'\]` must be numbers, got dtype"),
        (((X, MASKED[:, 0]), (X, Y)), "y` must have no masked values, got an array with 1 of"),
    ],
    ids=[
        "none",
        "empty",
        "train",
        "test",
        "masked",
        "masked y",
        "validation x",
        "test y",
        "strings",
        "key",
        "own y",
    ],
)
def test_data(quick: Quick, tmp_path: Path, data: Any, message: str) -> None:
    with pytest.raises(InitxError, match=f"^`{message}"):
        quick(data=data)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"validation_dat": (X, Y)},
            "validation_dat` is not an argument of `fit`. Did you mean `valid",
        ),
        ({"x": ((X, Y), (X, Y)), "y": None}, "x` holds pairs of inputs and labels. As in fit: search"),
        ({"validation_data": None}, "objective` must be a metric of the training.*Pass validation_data="),
        ({"x": from_arrays(X, Y)}, "y` must be None if `x` is a Dataset"),
        ({"x": from_arrays(X, Y), "y": None}, "validation_data` must be None if `x` is a Dataset"),
    ],
    ids=["unknown", "pairs", "no validation", "two labels", "two validations"],
)
def test_arguments_of_fit(quick: Quick, tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(InitxError, match=f"^`{message}"):
        quick(**options)
    assert list(tmp_path.iterdir()) == []


PASSED = {
    "x and y by name": (lambda hp, model, *, x, y, **options: 0.0, ()),
    "everything by name": (lambda hp, model, **options: 0.0, ()),
    "x, y": (lambda hp, model, x, y, **options: 0.0, (X, Y)),
    "other names": (lambda hp, model, inputs, labels, **options: 0.0, (X, Y)),
    "any number": (lambda hp, model, *data, **options: 0.0, (X, Y)),
    "y by name": (lambda hp, model, x, *, y, **options: 0.0, ()),
}


@pytest.mark.parametrize(("fit", "positional"), PASSED.values(), ids=PASSED)
def test_a_fit_of_the_users_own_gets_the_data_as_it_takes_them(fit: Any, positional: Any) -> None:
    user = keras_tuner.HyperModel()
    user.fit = fit
    data, _, args, kwargs = fit_of(InitializerHyperModel(user), X, Y, None, 2, {"verbose": 0})
    assert data is None
    assert len(args) == len(positional)
    assert all(one is other for one, other in zip(args, positional, strict=True))
    assert kwargs.keys() == {"epochs", "verbose"} | ({"x", "y"} if not positional else set())
    assert user.fit(None, None, *args, **kwargs) == 0.0


@pytest.mark.parametrize("one_hot", [True, False])
def test_labels_that_do_not_fit_the_loss(quick: Quick, pairs: Any, one_hot: bool) -> None:
    def build() -> keras.Model:
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy" if one_hot else "categorical_crossentropy")
        return model

    if one_hot:
        pairs = tuple((x, np.eye(2, dtype="float32")[y]) for x, y in pairs)
    remedy = (
        r"labels are one-hot.*\. Compile with categorical"
        if one_hot
        else r"class numbers\. Compile with sparse"
    )
    with pytest.raises(InitxError, match=remedy):
        quick(build, pairs, objective="val_loss")


def test_values_that_are_not_finite_cause_a_warning(quick: Quick, pairs: Any) -> None:
    (x, y), validation = pairs
    x = x.copy()
    x[3, 1] = np.nan
    with (
        pytest.warns(UserWarning, match=r"`x` contains nan at index \(3, 1\)"),
        pytest.raises(RuntimeError, match=r"no epoch of seed 0 has a finite loss and a finite "),
    ):
        quick(data=((x, y), validation), trials=1, seeds=1, epochs=1)


def test_a_name_that_is_no_output_is_not_cut_off_an_objective(quick: Quick, tmp_path: Path) -> None:
    """By the naming of scikit-learn more of it is better, and of the rest of the name less is."""

    def neg_mean_squared_error(y: Any, predicted: Any) -> Any:
        return -keras.ops.mean((y - predicted) ** 2, axis=-1)

    def build() -> keras.Model:
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse", metrics=[neg_mean_squared_error])
        return model

    with pytest.raises(InitxError, match=r"^`objective` .*Objective\('val_neg_mean_squared_error', 'max'\)"):
        quick(build, objective="val_neg_mean_squared_error")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("own_class", [False, True])
def test_the_outputs_of_a_model_begin_the_names_of_its_metrics(own_class: bool) -> None:
    class Two(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = keras.layers.Dense(1), keras.layers.Dense(1)

        def call(self, x: Any) -> Any:
            return {"age": self.one(x), "kind": self.two(x)}

    def build() -> keras.Model:
        inputs = keras.Input((4,))
        named = [keras.layers.Dense(1, name=name)(inputs) for name in ("age", "kind")]
        model = Two() if own_class else keras.Model(inputs, named)
        model.compile("sgd", {"age": "mse", "kind": "mse"}, metrics={"age": ["mae"]})
        return model

    labels = {"age": Y[:, None] * 1.0, "kind": Y[:, None] * 1.0} if own_class else [Y * 1.0, Y * 1.0]
    data = FitArguments((X, labels), {"validation_data": (X, labels)})
    found, *_ = check_model(InitializerHyperModel(build), data, None, "val_age_mae")
    assert (found.name, found.direction) == ("val_age_mae", "min")


def test_the_fingerprint_depends_on_values_shapes_and_types() -> None:
    x = np.arange(6)
    data = [
        FitArguments((x, x), {}),
        FitArguments((x[::-1], x), {}),
        FitArguments((x.reshape(2, 3), x), {}),
        FitArguments((x.astype("float64"), x), {}),
        FitArguments((x,), {}),
        FitArguments(({"a": x}, x), {"sample_weight": x}),
    ]
    prints = [fingerprint(data[0], data[0]), *map(fingerprint, data)]
    assert len(set(prints)) == len(prints)
    fortran = FitArguments((np.asfortranarray(x.reshape(2, 3)), x), {})
    assert fingerprint(fortran) == fingerprint(data[2])


@pytest.mark.parametrize(
    ("began", "resumed", "argument"),
    [
        ({}, {"shuffle": False}, "shuffle"),
        ({"class_weight": {0: 1.0, 1: 2.0}}, {"class_weight": {0: 1.0, 1: 3.0}}, "class_weight"),
        ({"steps_per_epoch": np.int64(2)}, {"steps_per_epoch": 1}, "steps_per_epoch"),
    ],
)
def test_a_resumed_search_has_the_same_arguments_of_fit(
    quick: Quick, began: dict[str, Any], resumed: dict[str, Any], argument: str
) -> None:
    options: dict[str, Any] = {"trials": 1, "seeds": 1, "epochs": 1, "screening": False}
    quick(**options, **began)
    with pytest.raises(InitxError, match=rf"^`fit` must be .*, as when the search began, got .*'{argument}'"):
        quick(**options, **resumed, mode="resume")
    assert len(quick(**options, **began, mode="resume").trials) == 1


def test_sparse_rows_are_told_apart() -> None:
    prints = [
        fingerprint(FitArguments((scipy.sparse.csr_matrix(np.eye(4) * n), Y[:4]), {})) for n in (1, 1, 2)
    ]
    assert prints[0] == prints[1] != prints[2]


def test_the_fingerprint_of_batches_is_their_structure() -> None:
    def batches(width: int) -> Any:
        return lambda: iter([(X[:8, :width], Y[:8])])

    prints = [fingerprint(FitArguments((batches(n),), {"steps_per_epoch": 1})) for n in (4, 4, 3)]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (MASKED[:, 0], "must have no masked values"),
        (np.ones(19), "must have the same number of rows, got 20 and 19"),
    ],
    ids=["masked", "short"],
)
def test_sample_weights(quick: Quick, tmp_path: Path, weights: Any, message: str) -> None:
    with pytest.raises(InitxError, match=f"^(`x` and )?`sample_weight` {message}"):
        quick(data=((X, Y), (X, Y)), sample_weight=weights)
    assert list(tmp_path.iterdir()) == []
