"""Tune your own model: search the initializer together with your own hyperparameters.

Run: python examples/tune_your_model.py
"""

import keras
import keras_tuner
import rich
from keras_initx.tuning import Range, Results, SearchSpace, load_dataset, search


def build(hp: keras_tuner.HyperParameters) -> keras.Model:
    """Build a model as for KerasTuner; `search` adds "initializer" and "learning_rate" to it."""
    model = keras.Sequential(
        [
            keras.Input((8, 8)),
            keras.layers.Reshape((8, 8, 1)),
            keras.layers.Rescaling(1 / 16),
            keras.layers.Conv2D(hp.Choice("filters", [8, 16]), 3, activation="gelu"),
            keras.layers.DepthwiseConv2D(3, activation="gelu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main() -> None:
    result = search(
        build,
        load_dataset("digits"),
        tuner="tpe",
        trials=6,
        seeds=2,
        epochs=5,
        space=SearchSpace(
            initializers=["he_auto", "auto", "glorot_uniform"], learning_rates=Range(1e-3, 3e-2)
        ),
        results=Results("results/tune_your_model", mode="overwrite"),
    )
    rich.print(result.table())
    best = result.best
    print(f"Best: {dict(best.values)}: {best.sample.describe()}")
    print(f"Its model has {result.best_model().count_params()} parameters.")
    print(result.tensorboard)


if __name__ == "__main__":
    main()
