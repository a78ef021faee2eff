"""What `initialize` costs: against building the model, and against Keras's own draws of its weights.

Each model is measured in a process of its own, both sides in turns, the smallest of several rounds.

    python benchmarks/initialize_time.py            # ResNet50 and ViT-B/16
    python benchmarks/initialize_time.py --json out.json
"""

import argparse
import json
import resource
import subprocess
import sys
import time

ROUNDS = 3


def vit_b16():
    """ViT-B/16 with 86 M parameters, in plain Keras."""
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
    """ResNet50 of keras.applications."""
    import keras

    return keras.applications.ResNet50(weights=None)


MODELS = {"resnet50": resnet50, "vit_b16": vit_b16}


def draws(model) -> None:
    """Keras's own draw of every weight that `initialize` draws, assigned as it is."""
    import keras

    initializer = keras.initializers.GlorotUniform(seed=1)
    for variable in model.trainable_variables:
        if len(variable.shape) >= 2:
            variable.assign(initializer(tuple(variable.shape), variable.dtype))


def peak() -> float:
    """The largest resident size of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str) -> dict:
    """The times of one model, in seconds, and the memory."""
    import keras

    import keras_initx

    # Imports, thread pools and the first kernels of every operation are paid before the clock starts.
    keras_initx.initialize(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)]), seed=0)
    build, init, first, draw = [], [], None, []
    for number in range(ROUNDS):
        keras.utils.clear_session()
        model = None
        started = time.perf_counter()
        model = MODELS[name]()
        build.append(time.perf_counter() - started)
        started = time.perf_counter()
        draws(model)
        draw.append(time.perf_counter() - started)
        before = peak()
        started = time.perf_counter()
        plan = keras_initx.initialize(model, seed=number)
        init.append(time.perf_counter() - started)
        first = first or (init[0], peak() - before)
    return {
        "model": name,
        "parameters": model.count_params(),
        "weights_MB": round(model.count_params() * 4 / 2**20, 1),
        "build_s": round(min(build), 3),
        "keras_draws_s": round(min(draw), 3),
        "initialize_s": round(min(init), 3),
        "initialize_first_s": round(first[0], 3),
        "peak_growth_MB": round(first[1], 1),
        "to_build": round(min(init) / min(build), 2),
        "to_draws": round(min(init) / min(draw), 2),
        "summary": plan.summary(),
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
