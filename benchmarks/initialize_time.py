"""Measure the time of `initialize` against building the model and against Keras's own draws of its weights.

Each model is measured in a process of its own: first its first build and its first `initialize`, then all
sides in turns, of which the smallest time over several rounds counts.

    python benchmarks/initialize_time.py            # ResNet50, ViT-B/16 and three ConvLSTM2D
    python benchmarks/initialize_time.py --json out.json
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 5


def vit_b16():
    """Return ViT-B/16 with 86 M parameters, in plain Keras."""
    import keras
    from keras import layers

    class Positions(layers.Layer):
        def build(self, shape):
            self.table = self.add_weight(shape=(1, *shape[1:]), initializer="random_normal", name="table")

        def call(self, x):
            return x + self.table

    inputs = keras.Input((224, 224, 3))
    x = layers.Conv2D(768, 16, strides=16)(inputs)
    x = Positions()(layers.Reshape((196, 768))(x))
    for _ in range(12):
        h = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([x, layers.MultiHeadAttention(12, 64)(h, h)])
        h = layers.LayerNormalization(epsilon=1e-6)(x)
        h = layers.Dense(768)(layers.Dense(3072, activation="gelu")(h))
        x = layers.Add()([x, h])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(inputs, layers.Dense(1000, activation="softmax")(x), name="vit_b16")


def resnet50():
    """Return ResNet50 of keras.applications."""
    import keras

    return keras.applications.ResNet50(weights=None)


def conv_lstm():
    """Return three ConvLSTM2D of 47 k parameters over ten frames of 40 x 40."""
    import keras
    from keras import layers

    films = [layers.ConvLSTM2D(16, 3, padding="same", return_sequences=True) for _ in range(3)]
    return keras.Sequential(
        [keras.Input((10, 40, 40, 1)), *films, layers.Conv3D(1, 3, padding="same")], name="conv_lstm"
    )


MODELS = {"resnet50": resnet50, "vit_b16": vit_b16, "conv_lstm": conv_lstm}


def warm_up() -> None:
    """Initialize, and so compute, a small model with the layers of the large ones."""
    import keras
    from keras import layers

    import keras_initx

    inputs = keras.Input((16, 16, 3))
    x = layers.BatchNormalization()(layers.Conv2D(64, 3)(inputs))
    x = layers.LayerNormalization()(layers.Reshape((196, 64))(x))
    x = layers.Dense(64, activation="gelu")(layers.MultiHeadAttention(4, 16)(x, x))
    model = keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))
    keras_initx.initialize(model, seed=0)


def draws(model, name: str) -> None:
    """Draw, with a Keras initializer, every weight that `initialize` draws."""
    import keras

    for variable in model.trainable_variables:
        if len(variable.shape) >= 2:
            initializer = keras.initializers.get(name)
            variable.assign(initializer(tuple(variable.shape), variable.dtype))


def resident() -> tuple[float, float]:
    """Return the current and the peak size of this process in MB."""
    now = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    return now, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(action) -> float:
    """Return the seconds that an action takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def measure(name: str) -> dict:
    """Return the times of one model in seconds, and its memory."""
    import numpy as np

    import keras_initx

    # Load TensorFlow's code, thread pools and allocators before memory is measured.
    warm_up()
    models = []
    times: dict[str, list[float]] = {"first_build": [timed(lambda: models.append(MODELS[name]()))]}
    model = models.pop()
    weights = 4 * model.count_params() / 2**20
    before = resident()[0]
    processor = time.process_time()
    times["first_initialize"] = [timed(lambda: keras_initx.initialize(model, seed=0))]
    # Other processes do not count.
    processor = time.process_time() - processor
    growth = max(resident()[1] - before, 0.0)
    batch = np.random.default_rng(0).standard_normal((2, *model.input_shape[1:]), dtype="float32")
    for number in range(ROUNDS):
        actions = {
            "build": MODELS[name],
            "keras_he_normal": lambda: draws(model, "he_normal"),
            "keras_glorot_uniform": lambda: draws(model, "glorot_uniform"),
            "initialize": lambda n=number: keras_initx.initialize(model, seed=n),
            "forward_pass_of_2": lambda: model(batch, training=True),
        }
        for key, action in actions.items():
            times.setdefault(key, []).append(timed(action))
    best = {key: min(values) for key, values in times.items()}
    return {
        "model": name,
        "weights_MB": round(weights),
        **{f"{key}_s": round(value, 3) for key, value in best.items()},
        "first_initialize_processor_s": round(processor, 3),
        "initialize_to_build": round(best["initialize"] / best["build"], 2),
        "initialize_to_build_first": round(best["first_initialize"] / best["first_build"], 2),
        "initialize_to_he_normal": round(best["initialize"] / best["keras_he_normal"], 2),
        "initialize_to_glorot_uniform": round(best["initialize"] / best["keras_glorot_uniform"], 2),
        "peak_memory_to_weights": round((weights + growth) / weights, 2),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS)
    parser.add_argument("--json")
    options = parser.parse_args()
    if options.model:
        print(json.dumps(measure(options.model)))
        sys.exit()
    rows = []
    for name in MODELS:
        command = [sys.executable, __file__, "--model", name]
        rows.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        print(json.dumps(rows[-1], indent=2))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)
