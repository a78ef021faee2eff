"""Test `keras-initx tune`: its output, resuming, and one line with exit code 2 for every mistake."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from tests.support.commands import ONE, TUNE, TUNE_OWN, run

pytestmark = pytest.mark.one_backend


def files(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_command_in_tensorboard_repeats_the_best_trial_exactly(capsys, in_a_copy):
    logs = in_a_copy / "results/tune/logs/summary"
    pages = b"".join(path.read_bytes() for path in logs.glob("*.text-*")).decode(errors="replace")
    search, best = re.findall(r"keras-initx (tune .*)\n```", pages)
    assert shlex.split(search) == [*TUNE, "--quiet"]
    code, _, _ = run(capsys, *shlex.split(best))
    assert code == 0
    first, second = (
        json.loads((in_a_copy / "results" / name / "results.json").read_text()) for name in ("tune", "best")
    )
    winner = first["trials"][first["best_trial"]]
    (only,) = second["trials"]
    assert only["hyperparameters"] == winner["hyperparameters"]
    curves = [[seed["curves"] for seed in trial["seeds"].values()] for trial in (winner, only)]
    assert curves[0] == curves[1]


def test_without_screening_every_trial_is_trained(capsys, in_a_new_folder):
    code, out, _ = run(capsys, *TUNE, *ONE, "--initializers", "zeros", "--quiet", "--no-screening")
    assert code == 0
    assert "ended before training" not in out


def test_extra_seeds_for_the_best_trials(capsys, in_a_copy):
    code, out, _ = run(capsys, *TUNE, "--quiet", "--resume", "--extra-seeds", "7")
    assert code == 0
    trials = json.loads((in_a_copy / "results/tune/results.json").read_text())["trials"]
    # Three trials share each extra seed, so the seventh run would have no counterpart.
    assert sum(trial["n"] for trial in trials) == 4 * 2 + 6
    assert "in the race" in out


def test_resuming_a_finished_search_trains_nothing_and_json_is_all_of_standard_output(capsys, in_a_copy):
    before = json.loads((in_a_copy / "results/tune/results.json").read_text())
    code, out, _ = run(capsys, *TUNE, "--resume", "--quiet", "--json")
    assert code == 0
    assert json.loads(out) == before
    assert json.loads((in_a_copy / "results/tune/results.json").read_text()) == before


def test_an_existing_search_is_neither_overwritten_nor_mixed(capsys, in_a_copy):
    before = files(in_a_copy)
    code, _, err = run(capsys, *TUNE)
    assert code == 2
    assert "Pass --resume to continue it, --overwrite to start again, or another folder." in err
    code, _, err = run(capsys, *TUNE, "--resume", "--epochs", "3")
    assert code == 2
    assert err.startswith("error: --epochs must be 1, as when the search began, got 3.")
    assert files(in_a_copy) == before


def test_a_folder_with_other_files_is_left_unchanged(capsys, in_a_new_folder):
    (in_a_new_folder / "results/tune").mkdir(parents=True)
    (in_a_new_folder / "results/tune/thesis.tex").write_text("mine")
    code, _, err = run(capsys, *TUNE, "--overwrite")
    assert code == 2
    assert err.startswith("error: --results 'results/tune' holds other files.")
    assert (in_a_new_folder / "results/tune/thesis.tex").read_text() == "mine"


def test_a_csv_file(capsys, in_a_new_folder):
    rng = np.random.default_rng(0)
    rows = [f"{a:.4f},{b:.4f},{'yes' if a > b else 'no'}" for a, b in rng.normal(size=(60, 2))]
    (in_a_new_folder / "own.csv").write_text("a,b,label\n" + "\n".join(rows))
    code, out, _ = run(capsys, *TUNE_OWN, *ONE, "--data", "own.csv", "--target", "label", "--quiet")
    assert code == 0
    assert "60 rows of 2 columns (2 numeric) as 2 features, 2 classes" in out.splitlines()[0]


def test_a_table_with_text_and_missing_cells_and_a_regression(capsys, in_a_new_folder):
    rng = np.random.default_rng(0)
    rows = [
        f"{i},{'' if i % 7 == 0 else f'{a:.3f}'},{('red', 'blue', '')[i % 3]},{a + i % 3:.3f}"
        for i, a in enumerate(rng.normal(size=60))
    ]
    (in_a_new_folder / "own.csv").write_text("row,size,colour,price\n" + "\n".join(rows))
    more = ["--target", "price", "--quiet", "--optimizer", "sgd"]
    code, out, err = run(capsys, *TUNE_OWN, *ONE, "--data", "own.csv", *more)
    assert code == 0, err
    lines = out.splitlines()
    assert "2 columns (1 numeric, 1 categorical) as 6 features, regression of a target from" in lines[0]
    assert "Column 'row' counts the rows and is left out; --index none keeps it." in lines
    assert any(line.endswith("so this is a regression.") for line in lines)
    assert any(
        line.startswith("Winner: ") and "validation rmse" in line and "test rmse" in line for line in lines
    )
    best = keras.models.load_model(in_a_new_folder / "results/tune/best_model.keras")
    assert isinstance(best.optimizer, keras.optimizers.SGD)
    assert {tensor.name for tensor in best.inputs} == {"size", "colour"}


def test_an_npz_file(capsys, in_a_new_folder):
    rng = np.random.default_rng(0)
    np.savez(in_a_new_folder / "own.npz", x=rng.normal(size=(60, 5, 3)), y=rng.integers(0, 2, 60))
    code, out, _ = run(capsys, *TUNE_OWN, *ONE, "--data", "own.npz", "--quiet")
    assert code == 0
    assert "60 images of 5x3, 2 classes" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--initializers", "he_atuo"], r"--initializers 'he_atuo' is not known\. Did you mean 'he_auto'\?"),
        (["--activations", "rleu"], r"--activations 'rleu' is not known\. Did you mean 'relu'\?"),
        (["--trials=-1"], r"--trials must be an integer >= 1, got -1\."),
        (["--epochs", "0"], r"--epochs must be an integer >= 1, got 0\."),
        (["--seeds", "0"], r"--seeds must be an integer >= 1, got 0\."),
        (["--depth=-3"], r"--depth must be an integer >= 1, got -3\."),
        (["--patience", "0"], r"--patience must be an integer >= 1, got 0\."),
        (["--extra-seeds=-1"], r"--extra-seeds must be an integer >= 0, got -1\."),
        (["--workers", "0"], r"--workers must be an integer >= 1, got 0\."),
        (["--learning-rates", "fast"], r"--learning-rates must be numbers .*, got 'fast'\. Example"),
        (["--learning-rates=-0.1"], r"--learning-rates must be a list of positive numbers.*, got \[-0\.1\]"),
        (["--tuner", "gird"], r"--tuner 'gird' is not known\. Did you mean 'grid'"),
        (
            ["--dataset", "digit"],
            r"--dataset 'digit' is not known\. Did you mean 'digits'\? .*\. "
            r"Load your own data with --data TABLE --target COLUMN or --data ARRAYS\.npz\.$",
        ),
        (["--data", "missing.csv", "--target", "y"], r"--data 'missing\.csv' cannot be read"),
        (["--data", "empty.csv", "--target", "y"], r"--data 'empty\.csv' is empty"),
        (["--data", "words.csv", "--target", "z"], r"--target 'z' is not known"),
        (["--data", "words.csv"], r"A table needs --target\. Name the column to predict: --target COLUMN\."),
        (["--data", "one.csv", "--target", "y"], r"--target 'y' must have at least two classes"),
        (["--data", "one.csv", "--target", "a", "--task", "regresion"], r"--task 'regresion' is not known"),
        (
            ["--data", "names.csv", "--target", "y"],
            r"--data 'names\.csv' has text in column 'a' that names .*"
            r" leave the column out with --drop a\.",
        ),
        (["--data", "gap.csv", "--target", "y"], r"--target 'y' has an empty cell in line 4"),
        (["--data", "bytes.csv", "--target", "y"], r"--data 'bytes\.csv' is neither UTF-8, .*--encoding"),
        (
            ["--data", "one.csv", "--target", "a", "--class-weight", "blanced"],
            r"--class-weight must be balanced",
        ),
        (
            ["--data", "many.csv", "--target", "y", "--class-weight", "balanced"],
            r"--class-weight does not apply",
        ),
        (["--target", "y"], r"--target 'y' needs a table\. Add --data FILE, or leave out --target\."),
        (["--drop", "y"], r"--drop 'y' needs a table\."),
        (["--task", "regression"], r"--task regression does not apply to the scikit-learn datasets"),
        (["--data", "text.npz"], r"--data 'text\.npz' is not an intact npz file"),
        (["--data", "text.npz", "--encoding", "latin-1"], r"--encoding 'latin-1' needs a table"),
        (
            ["--data", "one.csv", "--target", "y", "--dataset", "iris"],
            r"Both --dataset and --data are given\.",
        ),
        (["--results", "words.csv/inside"], r"--results 'words\.csv/inside' .*words\.csv"),
        (["--logs", "words.csv"], r"--logs 'words\.csv' must be a folder"),
        (
            ["--resume"],
            r"Nothing to resume in 'results/tune'\. Leave out --resume to start a new search there\.",
        ),
        (["--resume", "--overwrite"], r"--resume and --overwrite exclude each other"),
        (
            ["--trials", "many"],
            r"--trials must be an integer, got 'many'\. See keras-initx tune --help\.$",
        ),
        (["--trials=1.5"], r"--trials must be an integer, got '1\.5'\. See keras-initx tune --help\.$"),
        (["--no-such-option"], r".*--no-such-option.*\. See keras-initx tune --help\.$"),
        (["--trials"], r".*'--trials'.*argument\. See keras-initx tune --help\.$"),
    ],
)
def test_bad_input_is_one_line_with_a_remedy(capsys, in_a_new_folder, arguments, message):
    (in_a_new_folder / "empty.csv").write_text("")
    (in_a_new_folder / "words.csv").write_text("a,y\n" + "red,0\nblue,1\n" * 10)
    (in_a_new_folder / "names.csv").write_text("a,y\n" + "".join(f"a{i},{i % 2}\n" for i in range(20)))
    (in_a_new_folder / "gap.csv").write_text("a,y\n2,1\n2,0\n2,\n" + "2,1\n" * 10)
    (in_a_new_folder / "many.csv").write_text("a,y\n" + "".join(f"{i % 3},{i}.5\n" for i in range(60)))
    (in_a_new_folder / "bytes.csv").write_bytes(b"a,y\n\x81\x8d,1\n")
    (in_a_new_folder / "text.npz").write_text("a,y\n1,2\n")
    (in_a_new_folder / "one.csv").write_text("a,y\n" + "1,0\n2,0\n" * 10)
    before = files(in_a_new_folder)
    own = "--data" in arguments or "--target" in arguments or "--drop" in arguments
    code, out, err = run(capsys, *(TUNE_OWN if own else TUNE), *arguments)
    assert code == 2
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert err.strip() == errors[0]
    assert re.match(f"error: {message}", errors[0]), errors[0]
    assert "Traceback" not in out + err
    assert files(in_a_new_folder) == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to(capsys, in_a_new_folder):
    (in_a_new_folder / "locked").mkdir(mode=0o500)
    code, _, err = run(capsys, *TUNE, "--results", "locked/here")
    assert code == 2
    assert "--results" in err
    assert "locked" in err


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_saves_the_search_and_resuming_finishes_it(capsys, in_a_new_folder):
    options = [*TUNE[1:], "--initializers", "he_auto,he_normal", "--epochs", "12", "--pruner", ""]
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_initx.tuning", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests in the background of a shell ignore Ctrl-C, and their child processes inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    database = in_a_new_folder / "results/tune/study.db"
    deadline = time.monotonic() + 1000
    # The curves of a seed are written after its result is stored.
    while time.monotonic() < deadline and not list(in_a_new_folder.glob("results/tune/logs/trial_*/seed_*")):
        time.sleep(0.1)
    assert database.exists()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=1000)
    assert process.returncode == 130, err
    assert "Traceback" not in out + err
    assert "--resume" in err
    saved = json.loads((in_a_new_folder / "results/tune/results.json").read_text())
    done = {(t["number"], seed) for t in saved["trials"] for seed in t["seeds"]}
    assert done
    code, _, err = run(capsys, "tune", *options, "--resume", "--quiet")
    assert code == 0, err
    final = json.loads((in_a_new_folder / "results/tune/results.json").read_text())
    assert len(final["trials"]) == 4
    assert all(len(t["seeds"]) == 2 and t["status"] == "completed" for t in final["trials"])
    for trial in saved["trials"]:
        for seed, record in trial["seeds"].items():
            # The same record with the same seconds: the seed did not run again.
            assert final["trials"][trial["number"]]["seeds"][seed] == record
