"""What `keras-initx tune` prints at the end."""

import json

import pytest

pytestmark = pytest.mark.one_backend


def test_the_output_has_table_winner_screened_trials_and_the_tensorboard_command(finished):
    lines = finished.out.splitlines()
    assert lines[0].startswith("iris: 150 rows of 4 features, 3 classes")
    row = next(line for line in lines if "he_auto" in line)
    assert row.count("(n=2)") == 2
    ended = "2 of 6 trials were ended before training, since they could not learn; the first: symmetric"
    assert any(line.startswith(ended) for line in lines)
    assert any(line.startswith("Winner: ") and "test accuracy" in line for line in lines)
    assert any(line.startswith("The best two initializers on the test data: ") for line in lines)
    assert "Dashboards:  tensorboard --logdir results/tune/logs" in lines
    assert (finished.folder / "results/tune/best_model.keras").exists()
    trials = json.loads((finished.folder / "results/tune/results.json").read_text())["trials"]
    assert sorted(trial["status"] for trial in trials) == ["completed"] * 4 + ["screened"] * 2
    assert all(set(trial["seeds"]) == {"0", "1"} for trial in trials if trial["status"] == "completed")
    assert list((finished.folder / "results/tune/logs").rglob("events.out.tfevents.*"))
