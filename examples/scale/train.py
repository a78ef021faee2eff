"""One process of a search that many processes run: start it as often as you like, on as many machines.

    python examples/scale/train.py

Each process takes the next trial of the study until none is left, or a trial whose process died. The study is
in the database of KERAS_INITX_STORAGE, for example postgresql+psycopg2://user:password@host/name, or in
RESULTS; the weights are in RESULTS, which all processes share.
"""

import os

import keras
from keras_initx.tuning import Results, SearchSpace, search
from sklearn.datasets import load_digits


def build():
    layers = [keras.layers.Dense(32, activation="tanh") for _ in range(4)]
    model = keras.Sequential([keras.Input((64,)), *layers, keras.layers.Dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


x, y = load_digits(return_X_y=True)
x = x.astype("float32") / 16
folder, storage = os.environ.get("RESULTS", "results/scale"), os.environ.get("KERAS_INITX_STORAGE")
result = search(
    build,
    x[:1200],
    y[:1200],
    validation_data=(x[1200:], y[1200:]),
    space=SearchSpace(["auto", "own"], learning_rates=[1e-3, 3e-3]),
    tuner="grid",
    epochs=3,
    seeds=2,
    results=Results(folder, mode="join", logs=f"{folder}_logs", storage=storage),
)
print(f"Best of {len(result.trials)} trials: {dict(result.best.values)}, {result.best.sample.describe()}")
