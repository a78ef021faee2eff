"""The loaded weights belong to the reported best seed; if they are elsewhere, none are loaded."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras_initx.tuning import InitializerTuner, SearchResult
from keras_initx.tuning.training.checkpoints import NoWeights, find_weights, load_weights

from keras_initx import InitxError

pytestmark = pytest.mark.one_backend

Trained = dict[tuple[int, int], list[np.ndarray]]


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[int, float]], Trained]:
    """Replace the score of each seed; return the trained weights, by trial and seed."""

    def score(scores: Mapping[int, float]) -> Trained:
        trained: Trained = {}
        original = InitializerTuner.run_seed

        def run_seed(tuner: Any, trial: Any, seed: int, *same_model: Any) -> Any:
            record, model = original(tuner, trial, seed, *same_model)
            trained[int(trial.trial_id), seed] = [np.array(w) for w in model.get_weights()]
            return {**record, "score": scores[seed]}, model

        monkeypatch.setattr(InitializerTuner, "run_seed", run_seed)
        return trained

    return score


@pytest.fixture
def machine(quick: Any, tmp_path: Path) -> Callable[..., SearchResult]:
    """Run a search on one of several machines, which share a storage but not their folders."""

    def run(name: str, **options: Any) -> SearchResult:
        folders = {"results": tmp_path / name / "x", "logs": tmp_path / f"{name}_logs"}
        options = {"epochs": 1, "screening": False, **options}
        return quick(**folders, storage=f"sqlite:///{tmp_path}/study.db", **options)

    return run


def assert_has(model: keras.Model, trained: Trained, trial: int, seed: int) -> None:
    """Check that a model has the weights of a seed, and of no other seed."""
    same = [
        key
        for key, weights in trained.items()
        if all(np.array_equal(a, b) for a, b in zip(model.get_weights(), weights, strict=True))
    ]
    assert same == [(trial, seed)]


def assert_elsewhere(result: SearchResult, seed: int) -> None:
    file = f"trial_{result.best.number:04d}/best_{seed}.weights.h5"
    with pytest.raises(
        InitxError, match=rf"^`results` .* lacks the weights of .* seed {seed}\..* copy {file} from"
    ):
        result.best_model()
    assert not (result.folders.results / "best_model.keras").exists()


class TestTwoFolders:
    def test_race_in_the_other_folder(self, machine: Any, scored: Any) -> None:
        trained = scored({0: 0.1, 1: 0.2, 2: 0.1, 3: 0.3})
        first = machine("a")
        saved = first.folders.results / "best_model.keras"
        assert_has(keras.models.load_model(saved), trained, first.best.number, 1)
        # The two trials are equal, so the race runs two seeds for each.
        other = machine("b", mode="join", extra_seeds=4)
        assert_has(other.best_model(), trained, other.best.number, 3)
        saved_there = keras.models.load_model(other.folders.results / "best_model.keras")
        assert_has(saved_there, trained, other.best.number, 3)
        with pytest.warns(UserWarning, match=r"^best_model\.keras was not written\. `results` .* seed 3"):
            again = machine("a", mode="resume", extra_seeds=4)
        assert_elsewhere(again, 3)
        name = f"trial_{again.best.number:04d}/best_3.weights.h5"
        shutil.copy(other.folders.results / name, again.folders.results / name)
        assert_has(again.best_model(), trained, again.best.number, 3)
        # Training the seed again also works without the other machine.
        model = again.tuner.run_seed(again.tuner.oracle.get_trial(f"{again.best.number:04d}"), 3)[1]
        assert_has(model, trained, again.best.number, 3)

    def test_race_in_the_other_folder_that_finds_no_better_seed(self, machine: Any, scored: Any) -> None:
        trained = scored({0: 0.1, 1: 0.3, 2: 0.2, 3: 0.2})
        first = machine("a")
        with pytest.warns(UserWarning, match=r"^best_model\.keras was not written"):
            other = machine("b", mode="join", extra_seeds=4)
        assert_elsewhere(other, 1)
        again = machine("a", mode="resume", extra_seeds=4)
        assert first.folders.results == again.folders.results
        assert_has(again.best_model(), trained, again.best.number, 1)
        assert (again.folders.results / "best_model.keras").exists()

    @pytest.mark.parametrize("best", [0, 2])
    def test_trial_that_was_taken_over(self, machine: Any, scored: Any, recorder: Any, best: int) -> None:
        trained = scored({0: 0.3, 1: 0.1, 2: 0.5 if best == 2 else 0.2})
        options = {"trials": 1, "seeds": 3}
        with pytest.raises(KeyboardInterrupt):
            machine("a", **options, observers=[recorder(after=2)])
        observer = recorder()
        if best == 2:
            owner = machine("b", **options, mode="join", observers=[observer])
            with pytest.warns(UserWarning, match=r"^best_model\.keras was not written"):
                other = machine("a", **options, mode="resume")
        else:
            with pytest.warns(UserWarning, match=r"^best_model\.keras was not written"):
                other = machine("b", **options, mode="join", observers=[observer])
            owner = machine("a", **options, mode="resume")
        assert observer.seeds == [("0000", 2)]
        assert_has(owner.best_model(), trained, 0, best)
        assert (owner.folders.results / "best_model.keras").exists()
        assert_elsewhere(other, best)


def test_only_the_best_seed_is_kept(quick: Any, scored: Any) -> None:
    scored({0: 0.3, 1: 0.1, 2: 0.5, 3: 0.4, 4: 0.6})
    result = quick(seeds=4, extra_seeds=2, epochs=1, screening=False)
    for trial in ("trial_0000", "trial_0001"):
        files = [p.name for p in (result.folders.results / trial).iterdir()]
        assert files == ["best_4.weights.h5"]


def test_kill_before_a_seed_is_stored_keeps_the_best_stored_one(
    quick: Any, scored: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    trained = scored({0: 0.3, 1: 0.5})
    result = quick(trials=1, seeds=1, epochs=1, screening=False)
    original = type(result.tuner.oracle).report_race_seed

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(result.tuner.oracle), "report_race_seed", killed)
    with pytest.raises(KeyboardInterrupt):
        result.tuner._run_race(result.tuner.oracle.get_trial("0000"), 1)
    assert_has(result.best_model(), trained, 0, 0)
    monkeypatch.setattr(type(result.tuner.oracle), "report_race_seed", original)
    result.tuner._run_race(result.tuner.oracle.get_trial("0000"), 1)
    assert_has(result.best_model(), trained, 0, 1)


def test_file_that_another_process_replaces_during_the_load(
    quick: Any, scored: Any, monkeypatch: Any
) -> None:
    trained = scored({0: 0.3, 1: 0.5})
    result = quick(trials=1, epochs=1, screening=False)
    original = InitializerTuner._best_file
    gone = iter([result.folders.results / "trial_0000/best_0.weights.h5"])
    monkeypatch.setattr(InitializerTuner, "_best_file", lambda *args: next(gone, None) or original(*args))
    assert_has(result.best_model(), trained, 0, 1)


def test_a_damaged_file_is_named(tmp_path: Path, small_model: Any) -> None:
    file = tmp_path / "best_0.weights.h5"
    small_model().save_weights(file)
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(InitxError, match=r"^`directory`: the weights .*best_0\.weights\.h5' cannot be read"):
        load_weights(small_model(), lambda: file, "directory")


class Sized(keras.Model):
    """A subclass with an argument and without `get_config`, which Keras cannot serialize."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.hidden, self.out = keras.layers.Dense(units), keras.layers.Dense(2, activation="softmax")

    def call(self, x: Any) -> Any:
        return self.out(self.hidden(x))


def test_a_model_that_keras_cannot_serialize_is_not_written(
    quick: Callable[..., SearchResult], pairs: Any
) -> None:
    def build() -> keras.Model:
        model = Sized(3)
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    with pytest.warns(UserWarning, match=r"best_model\.keras was not written\. .* Give Sized a `get_config`"):
        result = quick(build, trials=1, epochs=1, seeds=1)
    assert not result.model_file.exists()
    assert not list(result.model_file.parent.glob("partial.*"))
    scores = result.best_model().evaluate(*pairs[1], verbose=0, return_dict=True)
    assert scores["accuracy"] == pytest.approx(result.best.scores()[0], abs=1e-6)


class TestFind:
    @pytest.mark.parametrize(("direction", "seed"), [("max", 2), ("min", 1)])
    def test_best_seed(self, tmp_path: Path, direction: str, seed: int) -> None:
        for other in (0, 1, 2):
            (tmp_path / f"best_{other}.weights.h5").touch()
        path = find_weights(tmp_path, {0: 0.5, 1: 0.1, 2: 0.9}, direction, "results")
        assert path == tmp_path / f"best_{seed}.weights.h5"

    def test_of_equal_seeds_the_one_that_exists(self, tmp_path: Path) -> None:
        (tmp_path / "best_7.weights.h5").touch()
        assert (
            find_weights(tmp_path, {3: 0.9, 7: 0.9, 8: 0.1}, "max", "results")
            == tmp_path / "best_7.weights.h5"
        )

    def test_trial_without_seeds(self, tmp_path: Path) -> None:
        (tmp_path / "best_7.weights.h5").touch()
        with pytest.raises(
            NoWeights, match=r"^`directory` .* has no weights of .*: no seed of it was trained"
        ):
            find_weights(tmp_path, {}, "max", "directory")
