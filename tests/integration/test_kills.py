"""Repeated kill -9 loses no finished trial or seed, and no seed runs twice."""

import os
import random
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from keras_initx.tuning.storage.databases import open_storage
from keras_initx.tuning.study.attributes import seed_records

from tests.support import processes

TRIALS, SEEDS, KILLS = 30, 2, 50


def search_until_killed(folder: str, storage: str | None, seconds: float, is_training: bool) -> None:
    """Join the search, append each stored seed to a file, and kill this process after some seconds.

    Args:
        folder: The folder of the search.
        storage: Its storage.
        seconds: When to kill the process; infinity for never.
        is_training: Whether the seconds count from the first trial on, or from the start of the process.
    """
    import keras
    import numpy as np
    from keras_initx.tuning import Execution, Range, Results, SearchSpace, search
    from keras_initx.tuning.dashboards import observer

    # The images of the dashboards take a fifth of the time, and say nothing about what is stored.
    observer._images = lambda *_: {}

    x = np.random.default_rng(0).normal(size=(48, 4)).astype("float32")
    y = (x.sum(axis=1) > 0).astype("int32")
    data: dict[str, Any] = {"x": x, "y": y, "validation_data": (x, y)}
    if storage is None:
        # One of the two tests reads a pipeline.
        import tensorflow as tf

        pipeline = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(48, seed=0).batch(16).prefetch(1)
        data = {"x": pipeline, "validation_data": pipeline}
    killer = threading.Timer(min(seconds, 10**6), os.kill, (os.getpid(), signal.SIGKILL))
    killer.daemon = True

    def build() -> keras.Model:
        layers = [keras.Input((4,)), keras.layers.Dense(4), keras.layers.Dense(2, activation="softmax")]
        model = keras.Sequential(layers)
        # Tracing would take most of the life of these processes.
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
        return model

    class Noting:
        def on_trial_begin(self, trial: Any, seeds: Any) -> None:
            if is_training and not killer.is_alive():
                killer.start()

        def on_epoch_end(self, epochs: int) -> None: ...
        def on_trial_end(self, trial: Any, status: str) -> None: ...
        def on_seed_end(self, trial: Any, seed: int, record: Any, skipped_epochs: int) -> None:
            with open(f"{folder}/done", "a") as file:
                file.write(f"{trial.trial_id} {seed}\n")

    if not is_training:
        killer.start()
    search(
        build, **data, tuner="random", trials=TRIALS, epochs=2, seeds=SEEDS,
        space=SearchSpace(learning_rates=Range(1e-4, 1e-2)), verbose=0,
        execution=Execution(jit_compile=False),
        results=Results(f"{folder}/results", "join", f"{folder}/logs", storage), observers=[Noting()],
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.one_backend
@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_kills_lose_nothing(kind: str, tmp_path: Path) -> None:
    storage = None if kind == "sqlite" else str(tmp_path / "study.journal")
    generator, killed, is_finished = random.Random(0), 0, False
    while not is_finished:
        # Most kills hit the training; every fourth hits the start of the search.
        is_training = killed % 4 != 3
        # Some processes live longer, so that the search gets on.
        seconds = generator.uniform(0.0, 1.4 if killed % 2 else 0.6)
        process = processes.start(
            search_until_killed,
            str(tmp_path),
            storage,
            seconds if killed < KILLS else float("inf"),
            is_training,
            output=tmp_path / "out",
        )
        process.join(1000)
        assert process.exitcode in (0, -signal.SIGKILL), processes.errors_of(tmp_path / "out")[-3000:]
        killed += process.exitcode != 0
        is_finished = process.exitcode == 0
    name = "results" if storage else "keras-initx"
    study = optuna.load_study(study_name=name, storage=open_storage(storage, tmp_path / "results"))
    trials = [t for t in study.trials if "surplus" not in t.user_attrs]
    assert Counter(t.state.name for t in trials) == {"COMPLETE": TRIALS}
    assert all(sorted(seed_records(t)) == list(range(SEEDS)) for t in trials)
    runs = Counter((tmp_path / "done").read_text().splitlines())
    assert max(runs.values()) == 1
    # A kill after a seed is stored and before it is appended to the file leaves no line.
    assert len(runs) <= TRIALS * SEEDS
    assert (tmp_path / "results/best_model.keras").exists()
    assert killed >= KILLS // 2, "the search ended before it was killed often enough: give it more trials"
