"""Several processes, or threads, share one study."""

import threading
from pathlib import Path

import pytest
from keras_initx.tuning import OptunaOracle

from tests.tuning.study.plain_tuner import PlainTuner, a_number, a_range, numbers

pytestmark = pytest.mark.one_backend


def test_drawn_seed_is_the_same_in_all_processes(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    seeds = set()
    for _ in range(3):
        oracle = OptunaOracle(None, 3, "random", storage, seed=None, shared=True)
        PlainTuner(oracle, tmp_path, a_number, a_range)
        oracle.verbose = 0
        oracle.create_trial("tuner0")
        oracle.release()
        seeds.add(oracle.seed)
    assert len(seeds) == 1
    assert None not in seeds


def test_error_leaves_no_lock_behind(tmp_path: Path) -> None:
    oracle = OptunaOracle(max_trials=9, max_consecutive_failed_trials=1)
    tuner = PlainTuner(oracle, tmp_path, lambda hp: float("nan"), numbers)
    oracle.verbose = 0
    with pytest.raises(RuntimeError):
        tuner.search()
    other = threading.Thread(target=oracle.create_trial, args=("another",), daemon=True)
    other.start()
    other.join(timeout=20)
    assert not other.is_alive()
