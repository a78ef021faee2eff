"""KerasTuner's guides on training loops, failures, TensorBoard and several processes, on small data."""

from typing import Any

import keras
import keras_tuner
import numpy as np

from tests.tuning.published_guides import CLASSES, IMAGES, LABELS, SIDE, TABLE, TARGETS, L, place

# A custom training loop: in the HyperModel's `fit`, or in `run_trial`.


class Trained:
    """One step of training and one of validation, written for TensorFlow."""

    def __init__(self, model: keras.Model, rate: float) -> None:
        self.model, self.optimizer = model, keras.optimizers.Adam(rate)
        self.loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def train(self, images: Any, labels: Any) -> Any:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = self.loss(labels, self.model(images))
        gradients = tape.gradient(loss, self.model.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables, strict=True))
        return loss


def build_uncompiled(hp: Any) -> keras.Model:
    inputs = keras.Input(shape=(SIDE, SIDE, 1))
    hidden = L.Dense(units=hp.Choice("units", [4, 8]), activation="relu")(L.Flatten()(inputs))
    return keras.Model(inputs, L.Dense(CLASSES)(hidden))


class Loop(keras_tuner.HyperModel):
    def build(self, hp: Any) -> keras.Model:
        return build_uncompiled(hp)

    def fit(
        self,
        hp: Any,
        model: keras.Model,
        x: Any,
        y: Any,
        validation_data: Any,
        callbacks: Any = None,
        **kwargs: Any,
    ) -> float:
        import tensorflow as tf

        batch_size = hp.Int("batch_size", 8, 16, step=4, default=8)
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)
        held_out = tf.data.Dataset.from_tensor_slices(validation_data).batch(batch_size)
        steps = Trained(model, hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3))
        epoch_loss_metric = keras.metrics.Mean()
        for callback in callbacks:
            callback.set_model(model)
        best = float("inf")
        for epoch in range(2):
            for images, labels in data:
                steps.train(images, labels)
            for images, labels in held_out:
                epoch_loss_metric.update_state(steps.loss(labels, model(images)))
            epoch_loss = float(epoch_loss_metric.result().numpy())
            for callback in callbacks:
                callback.on_epoch_end(epoch, logs={"my_metric": epoch_loss})
            epoch_loss_metric.reset_state()
            best = min(best, epoch_loss)
        return best


def own_loop(Search: Any) -> Any:
    tuner = Search(
        objective=keras_tuner.Objective("my_metric", "min"),
        max_trials=2,
        hypermodel=Loop(),
        **place("custom_training", "results"),
    )
    tuner.search(x=IMAGES, y=LABELS, validation_data=(IMAGES, LABELS))
    assert tuner.get_best_hyperparameters()[0].values
    tuner.get_best_models()[0].summary()
    return tuner


def own_tuner(Search: Any) -> Any:
    class MyTuner(Search):
        """Calls the tuner's hooks in `run_trial`, and declares hyperparameters there."""

        def run_trial(self, trial: Any, train_ds: Any) -> float:
            hp = trial.hyperparameters
            train_ds = train_ds.batch(hp.Int("batch_size", 8, 16, step=4, default=8))
            model = self.hypermodel.build(hp)
            steps = Trained(model, hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3))
            mean, best = keras.metrics.Mean(), float("inf")
            for epoch in range(2):
                self.on_epoch_begin(trial, model, epoch, logs={})
                for batch, (images, labels) in enumerate(train_ds):
                    self.on_batch_begin(trial, model, batch, logs={})
                    loss = float(steps.train(images, labels))
                    mean.update_state(loss)
                    self.on_batch_end(trial, model, batch, logs={"loss": loss})
                epoch_loss = float(mean.result())
                self.on_epoch_end(trial, model, epoch, logs={"loss": epoch_loss})
                mean.reset_state()
                best = min(best, epoch_loss)
            return best

    import tensorflow as tf

    tuner = MyTuner(
        oracle=keras_tuner.oracles.BayesianOptimizationOracle(
            objective=keras_tuner.Objective("loss", "min"), max_trials=2
        ),
        hypermodel=build_uncompiled,
        directory="results",
        project_name="mnist_custom_training",
    )
    tuner.search(train_ds=tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)))
    assert tuner.get_best_hyperparameters()[0].values
    return tuner


# Failed trials: models that are too large, of which `error` is raised.


def too_large(error: type[Exception]) -> Any:
    def build(hp: Any) -> keras.Model:
        sizes = [hp.Int("units_1", 10, 40, step=10), hp.Int("units_2", 10, 30, step=10)]
        model = keras.Sequential([keras.Input((4,)), *map(L.Dense, sizes), L.Dense(1)])
        model.compile(loss="mse")
        if model.count_params() > 600:
            raise error(f"Model too large! It contains {model.count_params()} params.")
        return model

    return build


def failing(Search: Any, error: type[Exception]) -> Any:
    """Return the tuner, whose search raises where the error is a `FatalError`."""
    tuner = Search(
        hypermodel=too_large(error),
        objective="val_loss",
        overwrite=True,
        max_retries_per_trial=3,
        max_consecutive_failed_trials=8,
    )
    tuner.search(x=TABLE, y=TARGETS, validation_data=(TABLE, TARGETS), epochs=1)
    tuner.results_summary()
    return tuner


# Visualize the tuning: two kinds of models, and the TensorBoard callback.


def build_either(hp: Any) -> keras.Model:
    x = inputs = keras.Input(shape=(SIDE, SIDE, 1))
    if hp.Choice("model_type", ["mlp", "cnn"]) == "mlp":
        x = L.Flatten()(x)
        for i in range(hp.Int("mlp_layers", 1, 3)):
            x = L.Dense(units=hp.Int(f"units_{i}", 4, 16, step=4), activation="relu")(x)
    else:
        for i in range(hp.Int("cnn_layers", 1, 2)):
            x = L.Conv2D(hp.Int(f"filters_{i}", 2, 8, step=2), kernel_size=(3, 3), activation="relu")(x)
            x = L.MaxPooling2D(pool_size=(2, 2), padding="same")(x)
        x = L.Flatten()(x)
    if hp.Boolean("dropout"):
        x = L.Dropout(0.5)(x)
    model = keras.Model(inputs, L.Dense(units=CLASSES, activation="softmax")(x))
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"], optimizer="adam")
    return model


def visualized(Search: Any) -> Any:
    hp = keras_tuner.HyperParameters()
    for kind in ("cnn", "mlp"):
        hp.values["model_type"] = kind
        assert build_either(hp)(IMAGES).shape == (len(IMAGES), CLASSES)
    tuner = Search(build_either, max_trials=4, overwrite=True, objective="val_accuracy", directory="tb")
    tuner.search(
        IMAGES,
        LABELS,
        validation_split=0.25,
        epochs=2,
        callbacks=[keras.callbacks.TensorBoard("tb_logs")],
    )
    return tuner


# Several processes and devices: the guide's program, whichever process runs it.


def distributed(Search: Any, **options: Any) -> Any:
    tuner = Search(
        hypermodel=build_either,
        objective="val_accuracy",
        directory="results_dir",
        project_name="mnist",
        **{"overwrite": True, **options},
    )
    tuner.search(
        IMAGES,
        LABELS.astype(np.int64),
        steps_per_epoch=3,
        validation_data=(IMAGES, LABELS),
        validation_steps=1,
        callbacks=[keras.callbacks.EarlyStopping("val_accuracy")],
    )
    return tuner
