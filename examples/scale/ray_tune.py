"""Run the trials of a search with Ray Tune: Optuna proposes them, Ray places them on a cluster.

    pip install "ray[tune]"
    python examples/scale/ray_tune.py

A trial whose machine dies starts again elsewhere, and finds the seeds that it had finished in RESULTS, which
all machines must share.
"""

import math
import os
from pathlib import Path

import keras
import optuna
import ray
from keras_initx.tuning import SearchSpace, objective
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from sklearn.datasets import load_digits

RESULTS = Path(os.environ.get("RESULTS", "results/ray")).absolute()


def build(hp):
    layers = [keras.layers.Dense(hp.Choice("units", [16, 32]), activation="tanh") for _ in range(2)]
    model = keras.Sequential([keras.Input((64,)), *layers, keras.layers.Dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main():
    x, y = load_digits(return_X_y=True)
    x = x.astype("float32") / 16
    goal = objective(
        build,
        x[:1200],
        y[:1200],
        validation_data=(x[1200:], y[1200:]),
        space=SearchSpace(["auto", "own", "zeros"]),
        epochs=2,
        seeds=2,
        results=RESULTS,
    )

    def trainable(config):
        try:
            score = goal.run(config, tune.get_context().get_trial_id())
        except optuna.TrialPruned:
            score = -math.inf
        tune.report({goal.name: score})

    ray.init(num_cpus=2, include_dashboard=False)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(
                goal.suggest,
                metric=goal.name,
                mode="max",
                # Known candidates first.
                points_to_evaluate=[{"units": 16, "initializer": name} for name in ("auto", "own")],
            ),
            num_samples=4,
            # The trials of one process share a compiled model.
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=str(RESULTS / "ray"), failure_config=tune.FailureConfig(max_failures=2)
        ),
    )
    best = tuner.fit().get_best_result(goal.name, "max")
    print(f"Best: {best.config}, {goal.name} {best.metrics[goal.name]:.3f}")
    print(f"Its model has {goal.load_model(best.metrics['trial_id']).count_params()} parameters.")


if __name__ == "__main__":
    main()
