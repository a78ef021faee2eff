"""Train initializers over networks, activations, optimizers, learning rates and seeds.

The data are real. The learning rate is chosen on a validation split, over four decades; the accuracy is
measured on a test split that nothing is chosen on. All rates and seeds of a cell train together in one
compiled step (`jax.vmap` over the variables of the model and the optimizer), which all methods share.

    python benchmarks/trainability.py --models mlp30 --activations relu gelu      # a few minutes
    python benchmarks/trainability.py --workers 2                                 # everything
    python benchmarks/trainability.py --report-only

Finished cells are kept in `--results` and not repeated: after an interruption, the same command continues.
"""

import argparse
import importlib
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import jax.numpy as jnp
import keras
import numpy as np
from trainability_models import MODELS
from trainability_report import report

import keras_initx

FIXED = ("default", "he_normal", "lecun_normal", "orthogonal", "lsuv")
METHODS = (*FIXED, "auto")
OTHERS = (
    "variance",
    "mirrored",
    "edge",
    "gpn",
    "shaped",
    "residual",
    "auto_moving",
    "auto_plain_ends",
    "auto_spread",
)
RATES = {
    "adam": [float(f"{10 ** (n / 2):.2g}") for n in range(-10, -1)],
    "sgd": [float(f"{10 ** (n / 2):.2g}") for n in range(-9, 0)],
}


def optimizer(name: str) -> keras.optimizers.Optimizer:
    """Return the optimizer of a cell; its rate is set for each replicate."""
    return keras.optimizers.Adam(1.0) if name == "adam" else keras.optimizers.SGD(1.0, momentum=0.9)


class Trainer:
    """Train many replicates of one model together, each with its own weights and learning rate."""

    def __init__(self, model: keras.Model, optimizer_name: str, data, epochs: int, batch: int = 64) -> None:
        self.model, self.data, self.epochs, self.batch = model, data, epochs, batch
        self.optimizer = optimizer(optimizer_name)
        self.optimizer.build(model.trainable_variables)
        x, y = (jnp.asarray(part) for part in data.train)

        def loss(trainable, state, indices):
            logits, state = model.stateless_call(trainable, state, x[indices], training=True)
            chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), y[indices][:, None], axis=1)
            return -jnp.mean(chosen), state

        def step(carried, indices):
            trainable, state, slots = carried
            (_, state), gradients = jax.value_and_grad(loss, has_aux=True)(trainable, state, indices)
            trainable, slots = self.optimizer.stateless_apply(slots, gradients, trainable)
            return (trainable, state, slots), None

        def epoch(trainable, state, slots, order):
            return jax.lax.scan(step, (trainable, state, slots), order)[0]

        def accuracy(trainable, state):
            shares = []
            for inputs, labels in (data.validation, data.test):
                logits, _ = model.stateless_call(trainable, state, jnp.asarray(inputs), training=False)
                shares.append(jnp.mean(jnp.argmax(logits, axis=1) == jnp.asarray(labels)))
            return jnp.stack(shares)

        # On a CPU, a convolution with a kernel per replicate is far slower than one replicate at a time.
        convolves = any(isinstance(layer, keras.layers.Conv2D) for layer in model.layers)

        def over(function):
            one_by_one = jax.jit(lambda *a: jax.lax.map(lambda b: function(*b), a))
            return one_by_one if convolves else jax.jit(jax.vmap(function))

        self._epoch, self._accuracy = over(epoch), over(accuracy)

    def run(self, starts: list, rates: list[float]) -> dict[str, list]:
        """Return the accuracies by rate and seed, from one set of variables per seed."""
        pairs = list(itertools.product(rates, range(len(starts))))
        trainable = [jnp.stack([starts[s][0][i] for _, s in pairs]) for i in range(len(starts[0][0]))]
        state = [jnp.stack([starts[s][1][i] for _, s in pairs]) for i in range(len(starts[0][1]))]
        slots = []
        for variable in self.optimizer.variables:
            if variable.name == "learning_rate":
                slots.append(jnp.asarray([rate for rate, _ in pairs], "float32"))
            else:
                slots.append(jnp.stack([jnp.zeros(variable.shape, variable.dtype)] * len(pairs)))
        count = len(self.data.train[0]) // self.batch
        for number in range(self.epochs):
            orders = [
                np.random.default_rng([seed, number]).permutation(len(self.data.train[0]))[
                    : count * self.batch
                ]
                for seed in range(len(starts))
            ]
            order = jnp.asarray(np.stack([orders[s].reshape(count, self.batch) for _, s in pairs]))
            trainable, state, slots = self._epoch(trainable, state, slots, order)
        accuracies = np.asarray(self._accuracy(trainable, state), "float64").reshape(
            len(rates), len(starts), 2
        )
        return {
            "validation": np.round(accuracies[..., 0], 4).tolist(),
            "test": np.round(accuracies[..., 1], 4).tolist(),
        }


def start(model: keras.Model, method: str, seed: int, data) -> None:
    """Draw the weights of a freshly built model by a method."""
    if method == "default":
        return
    if method in FIXED and method != "lsuv":
        keras_initx.reinitialize(model, method, seed=seed)
    elif method == "lsuv":
        keras_initx.initialize(model, "lsuv", data=data.train[0], seed=seed)
    elif method == "auto_moving":
        with _moving_statistics():
            keras_initx.initialize(model, "auto", seed=seed)
    elif method == "auto_plain_ends":
        with _plain_ends():
            keras_initx.initialize(model, "auto", seed=seed)
    else:
        keras_initx.initialize(model, method, seed=seed)


def _moving_statistics():
    """Patch the scaling pass to run batch normalization in inference mode, for comparison."""
    from unittest.mock import patch

    import keras_initx.model_init.calibration.forward_pass as forward_pass

    def compute(step, args, kwargs):
        operation = step.call.operation
        if isinstance(operation, keras.layers.BatchNormalization):
            return operation(*args, **{**kwargs, "training": False})
        return original(step, args, kwargs)

    original = forward_pass.compute
    return patch.object(forward_pass, "compute", compute)


def _plain_ends():
    """Patch `auto` to treat the ends of residual branches like any other weight."""
    from unittest.mock import patch

    from keras_initx.model_init.methods.choice import variance_choice

    # The folder's face binds the name `auto` to the function.
    auto = importlib.import_module("keras_initx.model_init.methods.auto")
    return patch.object(auto, "residual_end_choice", variance_choice)


def run(options: argparse.Namespace) -> None:
    """Run the cells that are not in the results yet; with workers, every n-th of them."""
    done = {key(row) for row in read(options.results)}
    groups = [
        (name, activation, opt)
        for name in options.models
        for activation in MODELS[name][2]
        for opt in options.optimizers
        if activation in options.activations or len(MODELS[name][2]) == 1
    ]
    for name, activation, opt in groups[options.part :: options.parts]:
        open_methods = [m for m in options.methods if (name, activation, opt, m) not in done]
        if not open_methods:
            continue
        make, build, _ = MODELS[name]
        data, built = make(), []
        for seed in range(options.seeds):
            keras.utils.set_random_seed(seed)
            built.append(build(data, activation))
        fresh = [values(model) for model in built]
        trainer = Trainer(built[0], opt, data, options.epochs)
        for method in open_methods:
            began = time.perf_counter()
            starts = []
            row = {"model": name, "activation": activation, "optimizer": opt, "method": method}
            try:
                for seed, model in enumerate(built):
                    restore(model, fresh[seed])
                    start(model, method, seed, data)
                    starts.append(values(model))
                restore(built[0], fresh[0])
                row |= trainer.run(starts, RATES[opt])
            except keras_initx.InitxError as error:
                row["error"] = str(error)
            row |= {"rates": RATES[opt], "seeds": options.seeds, "epochs": options.epochs}
            row["seconds"] = round(time.perf_counter() - began, 1)
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def values(model: keras.Model) -> tuple[list, list]:
    """Return the values of the trainable and of the other variables of a model."""
    return (
        [jnp.array(v.value) for v in model.trainable_variables],
        [jnp.array(v.value) for v in model.non_trainable_variables],
    )


def restore(model: keras.Model, kept: tuple[list, list]) -> None:
    """Assign to a model's variables what `values` returned."""
    variables = (*model.trainable_variables, *model.non_trainable_variables)
    for variable, value in zip(variables, (*kept[0], *kept[1]), strict=True):
        variable.assign(value)


def read(path: Path) -> list[dict]:
    """Return the rows of the results file, without a line that an interruption cut short."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def key(row: dict) -> tuple:
    """Return what identifies a cell."""
    return tuple(row[name] for name in ("model", "activation", "optimizer", "method"))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    every = (*MODELS["mlp5"][2],)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--activations", nargs="+", default=list(every), choices=every)
    parser.add_argument("--optimizers", nargs="+", default=["adam", "sgd"], choices=list(RATES))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=[*METHODS, *OTHERS])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--part", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--parts", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, default=Path("results/trainability.jsonl"))
    parser.add_argument("--report-only", action="store_true")
    parser.add_argument("--table", type=Path, help="also write the report to this file")
    options = parser.parse_args()
    options.results.parent.mkdir(parents=True, exist_ok=True)
    if not options.report_only:
        if options.workers > 1:
            command = [sys.executable, *sys.argv, "--workers", "1", "--parts", str(options.workers)]
            workers = [
                subprocess.Popen([*command, "--part", str(n), "--table", os.devnull])
                for n in range(options.workers)
            ]
            for worker in workers:
                worker.wait()
        else:
            run(options)
    if options.part == 0 and options.parts == 1:
        report(read(options.results), FIXED, options.table)


if __name__ == "__main__":
    main()
