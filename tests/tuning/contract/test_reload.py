"""A reloaded search knows what the first one knew."""

import pickle
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import pytest

from keras_initx import InitxError
from tests.support import processes
from tests.tuning.contract.makers import Maker, optuna_oracle, random_search, search
from tests.tuning.contract.test_spaces import loop

pytestmark = pytest.mark.one_backend


def curve(hp: Any) -> keras.callbacks.History:
    """Return a history whose best epoch is the second or the third."""
    history = keras.callbacks.History()
    score = loop(hp)
    history.history = {"val_loss": [score + 9, score + score % 3, score + 1], "val_accuracy": [0.1, 0.2, 0.3]}
    return history


def state_of(oracle: Any) -> dict[str, Any]:
    """Return all that KerasTuner's users read of an oracle."""
    return {
        "trials": {
            int(name): (
                trial.status,
                trial.score,
                trial.best_step,
                trial.metrics.get_config(),
                dict(trial.hyperparameters.values),
            )
            for name, trial in oracle.trials.items()
        },
        "started": [int(name) for name in oracle.start_order],
        "ended": [int(name) for name in oracle.end_order],
        "best": [int(trial.trial_id) for trial in oracle.get_best_trials(9)],
        "space": [(hp.name, hp.get_config()) for hp in oracle.get_space().space],
        "remaining": oracle.remaining_trials(),
    }


def test_reloaded_trials_equal_the_first_ones(make: Maker) -> None:
    options = {"objective": "val_loss", "max_trials": 4, "on_disk": True}
    tuner = search(make(None, curve, **options))
    state = state_of(tuner.oracle)
    assert len(state["trials"]) == 4
    assert {trial[2] for trial in state["trials"].values()} <= {1, 2}
    assert state_of(make(None, curve, **options).oracle) == state
    tuner.reload()
    assert state_of(tuner.oracle) == state


def write_state(folder: Path) -> None:
    oracle = optuna_oracle(folder, None, curve, objective="val_loss", max_trials=4, on_disk=True).oracle
    (folder / "state").write_bytes(pickle.dumps(state_of(oracle)))


@pytest.mark.slow
def test_new_process_reads_the_same(tmp_path: Path) -> None:
    tuner = search(optuna_oracle(tmp_path, None, curve, objective="val_loss", max_trials=4, on_disk=True))
    process = processes.start(write_state, tmp_path, output=tmp_path / "out")
    process.join(1000)
    assert process.exitcode == 0, processes.errors_of(tmp_path / "out")[-2000:]
    assert pickle.loads((tmp_path / "state").read_bytes()) == state_of(tuner.oracle)


@pytest.mark.filterwarnings("ignore:The use case of calling:DeprecationWarning")
def test_metrics_keep_their_history_by_step(make: Maker) -> None:
    def run(hp: Any) -> float:
        trial = next(iter(tuner.oracle.ongoing_trials.values()))
        for step, value in enumerate([3.0, 1.0, 2.0]):
            metrics = {"score": value, "val_accuracy": value, "val_loss": value}
            tuner.oracle.update_trial(trial.trial_id, metrics, step=step)
        return 0.0

    options = {"objective": keras_tuner.Objective("score", "max"), "max_trials": 1}
    tuner = make(None, run, **options)
    search(tuner)
    for oracle in (tuner.oracle, make(None, run, **options).oracle):
        (trial,) = oracle.get_best_trials()
        assert (trial.score, trial.best_step) == (3.0, 0)
        assert [(o.step, o.value) for o in trial.metrics.get_history("score")] == [
            (0, [3.0]),
            (1, [1.0]),
            (2, [2.0]),
        ]
        directions = [trial.metrics.get_direction(n) for n in ("score", "val_accuracy", "val_loss")]
        assert directions == ["max", "max", "min"]


def test_resumed_search_continues(make: Maker) -> None:
    first = search(make(None, loop, max_trials=3))
    second = make(None, loop, max_trials=5)
    assert second.remaining_trials == 2
    search(second)
    assert [int(name) for name in second.oracle.start_order] == [0, 1, 2, 3, 4]
    assert set(first.oracle.trials) < set(second.oracle.trials)


def test_overwriting_starts_a_new_search(make: Maker) -> None:
    search(make(None, loop, max_trials=2, on_disk=True))
    assert make(None, loop, max_trials=2, on_disk=True, overwrite=True).oracle.trials == {}


def test_search_of_another_kind_is_not_mixed_in(make_ours: Maker, tmp_path: Path) -> None:
    # KerasTuner raises where it cannot read what another of its tuners wrote.
    search(random_search(tmp_path, loop, loop, max_trials=1))
    with pytest.raises(InitxError, match=r"^`project_name` 'project' already contains a KerasTuner search"):
        make_ours(loop, loop)
    assert search(make_ours(loop, loop, max_trials=1, overwrite=True)).oracle.start_order == ["0000"]


def test_another_oracle_of_keras_tuner_refuses_the_folder(with_oracle: Maker, tmp_path: Path) -> None:
    search(with_oracle(loop, loop, max_trials=1))
    # As KerasTuner does where it cannot read what another of its tuners wrote.
    with pytest.raises(RuntimeError, match=r"pass `overwrite=True`"):
        random_search(tmp_path, loop, loop)
    assert len(search(with_oracle(loop, loop, max_trials=2)).oracle.trials) == 2
    tuner = random_search(tmp_path, loop, loop, max_trials=1, overwrite=True)
    assert len(search(tuner).oracle.trials) == 1


@pytest.mark.parametrize("on_disk", [False, True])
def test_older_search_goes_on_beside_one_of_keras_tuner(
    make_ours: Maker, tmp_path: Path, on_disk: bool
) -> None:
    search(make_ours(loop, loop, max_trials=1, on_disk=on_disk))
    search(random_search(tmp_path / "other", loop, loop, max_trials=1))
    (tmp_path / "other" / "project" / "oracle.json").rename(tmp_path / "project" / "oracle.json")
    assert len(search(make_ours(loop, loop, max_trials=2, on_disk=on_disk)).oracle.trials) == 2


def test_space_does_not_shrink(make: Maker) -> None:
    tuner = search(make(loop, loop, max_trials=6))
    names = [hp.name for hp in tuner.oracle.get_space().space]
    assert len(names) > 2
    assert [hp.name for hp in make(loop, loop).oracle.get_space().space] == names


def test_space_does_not_shrink_where_only_the_study_is_known(with_oracle: Maker, tmp_path: Path) -> None:
    tuner = search(with_oracle(loop, loop, max_trials=6))
    names = [hp.name for hp in tuner.oracle.get_space().space]
    (tmp_path / "project" / "tuner0.json").unlink()
    other = with_oracle(loop, loop)
    assert [hp.name for hp in other.oracle.get_space().space] == names
    assert len(search(other).oracle.trials) == 6
