"""The tuners that keep KerasTuner's contract; each test of this folder runs on each of them."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import optuna
from keras_initx.tuning import InitializerTuner, OptunaOracle, SearchSpace

Maker = Callable[..., keras_tuner.Tuner]
# What a tuner takes itself rather than its oracle.
_OF_THE_TUNER = {"optimizer", "loss", "metrics", "max_model_size", "executions_per_trial"}


def random_search(
    folder: Path, build: Any = None, run: Any = None, *, overwrite: bool = False, **options: Any
) -> Any:
    """KerasTuner itself, which shows that the promise is its own."""
    cls = _running(keras_tuner.RandomSearch, run, options)
    options.pop("on_disk", None)
    return cls(build, **_defaults(options), **_place(folder, overwrite))


def optuna_oracle(
    folder: Path, build: Any = None, run: Any = None, *, overwrite: bool = False, **options: Any
) -> Any:
    """A plain tuner of KerasTuner whose oracle is an Optuna study, in memory unless `on_disk`."""
    storage = None if options.pop("on_disk", False) else _studies(folder)
    cls = _running(keras_tuner.Tuner, run, options)
    own = {name: options.pop(name) for name in _OF_THE_TUNER & options.keys()}
    oracle = OptunaOracle(sampler="random", storage=storage, **_defaults(options))
    return cls(oracle, build, **own, **_place(folder, overwrite))


def initializer_tuner(
    folder: Path, build: Any = None, run: Any = None, *, overwrite: bool = False, **options: Any
) -> Any:
    """Our tuner with one seed for each trial, and with nothing added to the model's own space."""
    storage = None if options.pop("on_disk", False) else _studies(folder)
    defaults = {"executions_per_trial": 1, "sampler": "random", "storage": storage, "jit_compile": False}
    space = None if build is None else SearchSpace(initializers=["own"])
    cls = _running(InitializerTuner, run, options)
    return cls(build, space=space, **{**defaults, **_defaults(options)}, **_place(folder, overwrite))


MAKERS: tuple[Maker, ...] = (random_search, optuna_oracle, initializer_tuner)


@functools.cache
def _studies(folder: Path) -> optuna.storages.InMemoryStorage:
    """Return the storage of all tuners in a folder."""
    return optuna.storages.InMemoryStorage()


def _defaults(options: dict[str, Any]) -> dict[str, Any]:
    return {"max_trials": 5, "seed": 1, **options}


def _place(folder: Path, overwrite: bool) -> dict[str, Any]:
    return {"directory": str(folder), "project_name": "project", "overwrite": overwrite}


def _running(cls: type, run: Callable[[Any], Any] | None, options: dict[str, Any]) -> Any:
    """Return the class with the methods of the option `mixin`, or with `run` as its `run_trial`."""
    mixin = options.pop("mixin", None)
    if run is not None:
        run_trial = lambda self, trial, *args, **kwargs: run(trial.hyperparameters)  # noqa: E731
        mixin = type("Mixin", (), {"run_trial": run_trial})
    return cls if mixin is None else type("Running", (mixin, cls), {})


def search(tuner: Any, *args: Any, **kwargs: Any) -> Any:
    """Run the search quietly and return its tuner."""
    tuner.search(*args, verbose=0, **kwargs)
    return tuner


def data() -> dict[str, Any]:
    """Return the arguments of `fit` for 16 rows."""
    x = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
    y = x.sum(axis=1, keepdims=True)
    return {"x": x, "y": y, "validation_data": (x, y), "epochs": 1, "batch_size": 16}


def compiled(layers: list[keras.layers.Layer], rate: float = 0.01, **options: Any) -> keras.Model:
    """Return a model for `data`."""
    model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), "mse", jit_compile=False, **options)
    return model
