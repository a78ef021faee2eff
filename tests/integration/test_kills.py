"""kill -9 at any moment, again and again: no finished trial or seed is lost, and none runs twice."""

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from keras_initx.tuning.storage.databases import open_storage
from keras_initx.tuning.study.attributes import seed_records

pytestmark = pytest.mark.one_backend

TRIALS, SEEDS, KILLS = 30, 2, 50


def searching(folder: str, storage: str | None) -> None:
    """One process: goes on with the search, and writes down each seed that it has stored."""
    import keras
    import numpy as np
    from keras_initx.tuning import search

    keras.utils.disable_interactive_logging()
    x = np.random.default_rng(0).normal(size=(48, 4)).astype("float32")
    y = (x.sum(axis=1) > 0).astype("int32")

    def build() -> keras.Model:
        layers = [keras.Input((4,)), keras.layers.Dense(4), keras.layers.Dense(2, activation="softmax")]
        model = keras.Sequential(layers)
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    class Noting:
        def on_trial_begin(self, trial: Any, seeds: Any) -> None: ...
        def on_epoch_end(self, epochs: int) -> None: ...
        def on_trial_end(self, trial: Any, status: str) -> None: ...
        def on_seed_end(self, trial: Any, seed: int, record: Any, skipped_epochs: int) -> None:
            with open(f"{folder}/done", "a") as file:
                file.write(f"{trial.trial_id} {seed}\n")

    search(
        build, ((x, y), (x, y)), tuner="random", trials=TRIALS, epochs=2, seeds=SEEDS, jit_compile=False,
        quiet=True, join=True, storage=storage, results=f"{folder}/results", logs=f"{folder}/logs",
        observers=[Noting()],
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_fifty_kills(kind: str, tmp_path: Path) -> None:
    storage = None if kind == "sqlite" else str(tmp_path / "study.journal")
    # A new process that has imported all already: the kills fall into the search, and not into imports.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keras_initx.tuning", __name__])
    generator, killed, ended = random.Random(0), 0, 0
    while killed < KILLS and not ended:
        process = context.Process(target=searching, args=(str(tmp_path), storage))
        process.start()
        # Longer from time to time, so that the search gets on.
        process.join(generator.uniform(0.05, 2.5 if killed % 2 else 1.2))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)  # type: ignore[arg-type]
            process.join()
            killed += 1
        else:
            ended += process.exitcode == 0
            assert process.exitcode == 0
    deadline = time.monotonic() + 200
    while not ended:
        process = context.Process(target=searching, args=(str(tmp_path), storage))
        process.start()
        process.join(100)
        assert process.exitcode == 0
        ended = 1
        assert time.monotonic() < deadline
    name = "results" if storage else "keras-initx"
    study = optuna.load_study(study_name=name, storage=open_storage(storage, tmp_path / "results"))
    begun = [t for t in study.trials if "surplus" not in t.user_attrs]
    assert Counter(t.state.name for t in begun) == {"COMPLETE": TRIALS}
    assert all(sorted(seed_records(t)) == list(range(SEEDS)) for t in begun)
    runs = Counter((tmp_path / "done").read_text().splitlines())
    assert max(runs.values()) == 1
    # A kill between a seed's storage and the note of it leaves no note.
    assert len(runs) <= TRIALS * SEEDS
    assert (tmp_path / "results/best_model.keras").exists()
    assert killed >= KILLS // 2, "the search ended before it was killed often enough: give it more trials"
