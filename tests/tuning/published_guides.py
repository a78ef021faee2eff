"""The six guides of KerasTuner on small data; each section takes the class of the tuner to use."""

import os
from typing import Any

import keras
import keras_tuner
import numpy as np

L = keras.layers
ROWS, SIDE, CLASSES = 24, 8, 3
generator = np.random.default_rng(0)
IMAGES = generator.random((ROWS, SIDE, SIDE, 1)).astype("float32")
LABELS = generator.integers(0, CLASSES, ROWS)
ONE_HOT = np.eye(CLASSES, dtype="float32")[LABELS]
TABLE, TARGETS = generator.random((ROWS, 4)), generator.random((ROWS, 1))
IMAGE_FIT = {"epochs": 2, "validation_data": (IMAGES, ONE_HOT)}
TABLE_FIT = {"x": TABLE, "y": TARGETS, "validation_data": (TABLE, TARGETS)}


def place(name: str, folder: str = "my_dir") -> dict[str, Any]:
    return {"overwrite": True, "directory": folder, "project_name": name}


def classifier(*layers: Any, optimizer: Any = "adam") -> keras.Model:
    model = keras.Sequential([L.Flatten(), *layers, L.Dense(CLASSES, activation="softmax")])
    model.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
    return model


# Getting started: a function that builds the model, the search, its results, the model trained again.


def build_layers(hp: Any) -> keras.Model:
    layers = [
        L.Dense(
            units=hp.Int(f"units_{i}", min_value=4, max_value=16, step=4),
            activation=hp.Choice("activation", ["relu", "tanh"]),
        )
        for i in range(hp.Int("num_layers", 1, 3))
    ]
    if hp.Boolean("dropout"):
        layers.append(L.Dropout(rate=0.25))
    rate = hp.Float("lr", min_value=1e-4, max_value=1e-2, sampling="log")
    return classifier(*layers, optimizer=keras.optimizers.Adam(learning_rate=rate))


def first_search(Search: Any) -> Any:
    build_layers(keras_tuner.HyperParameters())
    tuner = Search(
        hypermodel=build_layers,
        objective="val_accuracy",
        max_trials=3,
        executions_per_trial=2,
        **place("helloworld"),
    )
    tuner.search_space_summary()
    tuner.search(IMAGES, ONE_HOT, **IMAGE_FIT)
    tuner.get_best_models(num_models=2)[0].summary()
    tuner.results_summary()
    model = build_layers(tuner.get_best_hyperparameters(5)[0])
    model.fit(x=IMAGES, y=ONE_HOT, epochs=1, verbose=0)
    return tuner


class Cropped(keras_tuner.HyperModel):
    """Tunes the preprocessing in `fit`, by a hyperparameter that `build` declares."""

    def build(self, hp: Any) -> keras.Model:
        size = hp.Int("image_size", 4, SIDE)
        inputs = keras.Input(shape=(size, size, 1))
        hidden = L.Dense(hp.Int("units", 4, 16, step=4), activation="relu")(L.Flatten()(inputs))
        model = keras.Model(inputs, L.Dense(CLASSES, activation="softmax")(hidden))
        model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
        return model

    def fit(
        self, hp: Any, model: keras.Model, x: Any, y: Any, validation_data: Any = None, **kwargs: Any
    ) -> Any:
        if hp.Boolean("normalize"):
            x = L.Normalization()(x)
        size = hp.get("image_size")
        if validation_data:
            validation_data = (validation_data[0][:, :size, :size, :], validation_data[1])
        return model.fit(
            x[:, :size, :size, :],
            y,
            shuffle=hp.Boolean("shuffle"),
            validation_data=validation_data,
            **kwargs,
        )


def tuned_training(Search: Any) -> Any:
    tuner = Search(Cropped(), objective="val_accuracy", max_trials=3, **place("tune_hypermodel"))
    tuner.search(IMAGES, ONE_HOT, **IMAGE_FIT)
    best = tuner.get_best_hyperparameters()[0]
    hypermodel = Cropped()
    hypermodel.fit(best, hypermodel.build(best), IMAGES, ONE_HOT, epochs=1, verbose=0)
    return tuner


def regressor(hp: Any, metrics: Any = None) -> keras.Model:
    model = keras.Sequential([L.Dense(units=hp.Int("units", 4, 16, 4), activation="relu"), L.Dense(units=1)])
    model.compile(optimizer="adam", loss="mean_squared_error", metrics=metrics)
    return model


def built_in_metric(Search: Any) -> Any:
    tuner = Search(
        hypermodel=lambda hp: regressor(hp, [keras.metrics.MeanAbsoluteError()]),
        objective=keras_tuner.Objective("val_mean_absolute_error", direction="min"),
        max_trials=3,
        **place("built_in_metrics"),
    )
    tuner.search(**TABLE_FIT)
    tuner.results_summary()
    return tuner


class CustomMetric(keras.metrics.Metric):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(name="custom_metric", **kwargs)
        self.sum = self.add_weight(name="sum", initializer="zeros")
        self.count = self.add_weight(name="count", dtype="int32", initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.sum.assign_add(keras.ops.sum(keras.ops.square(y_pred - y_true)))
        self.count.assign_add(keras.ops.shape(y_true)[0])

    def result(self) -> Any:
        return self.sum / keras.ops.cast(self.count, "float32")

    def reset_state(self) -> None:
        self.sum.assign(0)
        self.count.assign(0)


def custom_metric(Search: Any) -> Any:
    tuner = Search(
        hypermodel=lambda hp: regressor(hp, [CustomMetric()]),
        objective=keras_tuner.Objective("val_custom_metric", direction="min"),
        max_trials=3,
        **place("custom_metrics"),
    )
    tuner.search(**TABLE_FIT)
    tuner.results_summary()
    return tuner


class Evaluated(keras_tuner.HyperModel):
    """Evaluates the model in `fit`, and returns a number, which is minimized."""

    def build(self, hp: Any) -> keras.Model:
        return regressor(hp)

    def fit(self, hp: Any, model: keras.Model, x: Any, y: Any, validation_data: Any, **kwargs: Any) -> Any:
        model.fit(x, y, **kwargs)
        x_val, y_val = validation_data
        return np.mean(np.abs(model.predict(x_val, verbose=0) - y_val))


class EvaluatedTwice(Evaluated):
    """Returns several metrics by name."""

    def fit(self, hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        error = super().fit(hp, model, *args, **kwargs)
        return {"metric_a": -error, "metric_b": error**2}


def own_value(Search: Any) -> Any:
    tuner = Search(hypermodel=Evaluated(), max_trials=3, **place("custom_eval"))
    tuner.search(**TABLE_FIT)
    tuner.results_summary()
    return tuner


def own_values(Search: Any) -> Any:
    tuner = Search(
        hypermodel=EvaluatedTwice(),
        objective=keras_tuner.Objective("metric_a", "max"),
        max_trials=3,
        **place("custom_eval_dict"),
    )
    tuner.search(**TABLE_FIT)
    tuner.results_summary()
    return tuner


def any_function(Search: Any) -> Any:
    class MyTuner(Search):
        def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> float:
            x = trial.hyperparameters.Float("x", min_value=-1.0, max_value=1.0)
            return x * x + 1

    tuner = MyTuner(max_trials=10, **place("tune_anything"))
    tuner.search()
    tuner.get_best_hyperparameters()[0].get("x")
    return tuner


def keras_code(units: int, optimizer: str, saving_path: str) -> float:
    model = keras.Sequential([L.Dense(units=units, activation="relu"), L.Dense(units=1)])
    model.compile(optimizer=optimizer, loss="mean_squared_error")
    model.fit(TABLE, TARGETS, verbose=0)
    model.save(saving_path)
    return np.mean(np.abs(model.predict(TABLE, verbose=0) - TARGETS))


def separate_code(Search: Any) -> Any:
    class MyTuner(Search):
        def run_trial(self, trial: Any, **kwargs: Any) -> float:
            hp = trial.hyperparameters
            return keras_code(
                units=hp.Int("units", 4, 16, 4),
                optimizer=hp.Choice("optimizer", ["adam", "adadelta"]),
                saving_path=os.path.join(".", f"{trial.trial_id}.keras"),
            )

    tuner = MyTuner(max_trials=3, **place("keep_code_separate"))
    tuner.search()
    keras_code(**tuner.get_best_hyperparameters()[0].values, saving_path="best_model.keras")
    return tuner


def small(*rates: float, **fixed: Any) -> keras_tuner.HyperParameters:
    """Return the learning rates to search in a model that KerasTuner brings along, which is made small."""
    hp = keras_tuner.HyperParameters()
    for name, value in fixed.items():
        hp.Fixed(name, value)
    hp.Choice("learning_rate", values=list(rates))
    return hp


def ready_made(Search: Any) -> Any:
    hypermodel = keras_tuner.applications.HyperResNet(input_shape=(32, 32, 1), classes=CLASSES)
    tuner = Search(
        hypermodel,
        objective="val_accuracy",
        max_trials=1,
        hyperparameters=small(1e-2, 1e-3, version="v1", conv3_depth=1, conv4_depth=1, pooling="avg"),
        **place("built_in_hypermodel"),
    )
    images = np.repeat(np.repeat(IMAGES, 4, 1), 4, 2)
    tuner.search(images, ONE_HOT, epochs=1, validation_data=(images, ONE_HOT))
    return tuner


# Tailor the search space: search or fix some hyperparameters, replace the arguments of `compile`.


def build_with_rate(hp: Any) -> keras.Model:
    layers = [L.Dense(units=hp.Int("units", min_value=4, max_value=16, step=4, default=8))]
    if hp.Boolean("dropout"):
        layers.append(L.Dropout(rate=0.25))
    model = keras.Sequential([L.Flatten(), *layers])
    model.compile(
        optimizer=keras.optimizers.Adam(hp.Choice("learning_rate", values=[1e-2, 1e-3, 1e-4])),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def tailored(Search: Any, name: str, **options: Any) -> Any:
    tuner = Search(build_with_rate, max_trials=3, **options, **place(name))
    tuner.search(IMAGES, LABELS[:, None], epochs=1, validation_data=(IMAGES, LABELS[:, None]))
    tuner.search_space_summary()
    return tuner


def few_are_searched(Search: Any) -> Any:
    hp = keras_tuner.HyperParameters()
    hp.Float("learning_rate", min_value=1e-4, max_value=1e-2, sampling="log")
    options = {"hyperparameters": hp, "tune_new_entries": False, "objective": "val_accuracy"}
    return tailored(Search, "search_a_few", **options)


def few_are_fixed(Search: Any) -> Any:
    hp = keras_tuner.HyperParameters()
    hp.Fixed("learning_rate", value=1e-4)
    options = {"hyperparameters": hp, "tune_new_entries": True, "objective": "val_accuracy"}
    return tailored(Search, "fix_a_few", **options)


def compiled_otherwise(Search: Any) -> Any:
    return tailored(
        Search,
        "override_compile",
        optimizer=keras.optimizers.Adam(1e-3),
        loss="mse",
        metrics=["sparse_categorical_crossentropy"],
        objective="val_loss",
    )


def tailored_ready_made(Search: Any) -> Any:
    hypermodel = keras_tuner.applications.HyperXception(input_shape=(SIDE, SIDE, 1), classes=CLASSES)
    sizes = {"conv2d_num_filters": 4, "sep_num_filters": 4, "num_residual_blocks": 1, "num_dense_layers": 1}
    tuner = Search(
        hypermodel,
        hyperparameters=small(1e-2, 1e-3, 1e-4, **sizes),
        tune_new_entries=False,
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        objective="val_accuracy",
        max_trials=2,
        **place("tailored"),
    )
    tuner.search(IMAGES, LABELS[:, None], epochs=1, validation_data=(IMAGES, LABELS[:, None]))
    tuner.search_space_summary()
    return tuner
