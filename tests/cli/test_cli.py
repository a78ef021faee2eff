"""The command line as a user meets it: one line for every mistake, exit code 2, nothing overwritten."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from keras_initx.cli import main
from keras_initx.cli.common import resume_line

pytestmark = pytest.mark.one_backend

SMALL = ["--epochs", "1", "--seeds", "2", "--depth", "1", "--width", "4", "--no-jit-compile"]
TUNE = [
    "tune",
    "--dataset",
    "iris",
    *SMALL,
    "--initializers",
    "he_auto,he_normal",
    "--activations",
    "relu,tanh",
    "--learning-rates",
    "0.003",
]


@pytest.fixture(autouse=True)
def in_a_new_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    out, err = capsys.readouterr()
    return stopped.value.code, out, err


def files(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_tune_prints_table_winner_model_and_the_tensorboard_line(capsys, tmp_path):
    code, out, _ = run(capsys, *TUNE, "--quiet")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("iris: 150 rows of 4 features, 3 classes")
    row = next(line for line in lines if "he_auto" in line)
    assert row.count("(n=2)") == 2
    assert any(line.startswith("Winner: ") and "test accuracy" in line for line in lines)
    assert "Dashboards:  tensorboard --logdir runs/tune" in lines
    assert (tmp_path / "results/tune/best_model.keras").exists()
    found = json.loads((tmp_path / "results/tune/results.json").read_text())
    assert len(found["trials"]) == 4
    assert all(set(trial["seeds"]) == {"0", "1"} for trial in found["trials"])
    assert list((tmp_path / "runs/tune").rglob("events.out.tfevents.*"))


def test_the_command_in_tensorboard_repeats_the_best_trial_exactly(capsys, tmp_path):
    run(capsys, *TUNE, "--quiet")
    pages = b"".join(path.read_bytes() for path in (tmp_path / "runs/tune/summary").glob("*.text-*")).decode(
        errors="replace"
    )
    again, best = re.findall(r"keras-initx (tune .*)\n```", pages)
    assert shlex.split(again) == [*TUNE, "--quiet"]
    code, _, _ = run(capsys, *shlex.split(best))
    assert code == 0
    first, second = (
        json.loads((tmp_path / "results" / name / "results.json").read_text()) for name in ("tune", "best")
    )
    winner = first["trials"][first["best_trial"]]
    (only,) = second["trials"]
    assert only["hyperparameters"] == winner["hyperparameters"]
    curves = [[seed["curves"] for seed in trial["seeds"].values()] for trial in (winner, only)]
    assert curves[0] == curves[1]


def test_a_doomed_combination_is_screened_and_said(capsys):
    # Two options of the same command: the second has the first's folder otherwise.
    command = [a.replace("he_auto,he_normal", "he_auto,zeros") for a in TUNE]
    code, out, _ = run(capsys, *command, "--quiet")
    assert code == 0
    assert "2 of 4 trials were ended before training, since they could not learn; the first: symmetric" in out
    code, out, _ = run(capsys, *command, "--quiet", "--no-screening", "--results", "all")
    assert code == 0
    assert "ended before training" not in out


def test_further_seeds_for_the_best(capsys, tmp_path):
    code, out, _ = run(capsys, *TUNE, "--quiet", "--extra-seeds", "7", "--pruner", "median")
    assert code == 0
    found = json.loads((tmp_path / "results/tune/results.json").read_text())
    # Three at a time: the seventh would be no pair.
    assert sum(trial["n"] for trial in found["trials"]) == 4 * 2 + 6
    assert "in the race" in out


def test_json_is_the_only_thing_on_standard_output(capsys):
    code, out, _ = run(capsys, *TUNE, "--quiet", "--json")
    assert code == 0
    assert {trial["status"] for trial in json.loads(out)["trials"]} == {"completed"}


def test_the_report_of_a_search(capsys, tmp_path, monkeypatch):
    command = [a.replace("he_auto,he_normal", "he_auto,zeros") for a in TUNE]
    assert run(capsys, *command, "--quiet")[0] == 0
    # Stands for other searches: this one has its study in its folder.
    monkeypatch.setenv("KERAS_INITX_STORAGE", "postgresql://me:sesame@nowhere/db")
    code, out, err = run(capsys, "report", "results/tune")
    assert (code, out, err) == (0, "Report: results/tune/report.html\n", "")
    page = (tmp_path / "results/tune/report.html").read_text()
    assert "4 trials: 2 completed, 2 screened before training." in page
    assert "sesame" not in page
    code, out, _ = run(capsys, "report", "sqlite:///results/tune/study.db", "--out", "mine.html")
    assert (code, out) == (0, "Report: mine.html\n")
    (tmp_path / "other.html").write_text("mine")
    monkeypatch.delenv("KERAS_INITX_STORAGE")
    for arguments, says in (
        (["nowhere", "--storage", "missing.journal"], r"--storage: received 'missing\.journal'"),
        (["results"], r"DIR: received 'results'; .*study\.db"),
        (["results/tune", "--out", "other.html"], r"--out: received 'other\.html'"),
        (["sqlite:///results/tune/study.db", "--study-name", "no"], r"--study-name: received 'no'"),
    ):
        code, out, err = run(capsys, "report", *arguments)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert re.match(f"error: {says}", err), err
    # Where the folder has no study, the variable does tell.
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("KERAS_INITX_STORAGE", "sqlite:///results/tune/study.db")
    _, _, err = run(capsys, "report", "empty")
    assert "such as keras-initx" in err


def test_study_prints_a_row_for_each_run_and_what_is_real(capsys):
    code, out, _ = run(capsys, "study", "--dataset", "iris", *SMALL, "--quiet")
    assert code == 0
    for scheme in ("Random: uniform", "Xavier: uniform", "He: truncated normal"):
        assert scheme in out
    # Three schemes, three activations, two seeds.
    assert sum(" of 1 " in line for line in out.splitlines()) == 18
    assert sum(" at n=2" in line for line in out.splitlines()) == 9
    assert "85-88 %" in out


def test_a_csv_of_the_users_own(capsys, tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{a:.4f},{b:.4f},{'yes' if a > b else 'no'}" for a, b in rng.normal(size=(60, 2))]
    (tmp_path / "own.csv").write_text("a,b,label\n" + "\n".join(rows))
    arguments = [*TUNE, "--csv", "own.csv", "--target", "label", "--quiet"]
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert out.startswith("own.csv: 60 rows of 2 features, 2 classes") or "60 rows of 2 features" in out


def test_arrays_of_the_users_own(capsys, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", x=rng.normal(size=(60, 5, 3)), y=rng.integers(0, 2, 60))
    code, out, _ = run(capsys, *TUNE, "--npz", "own.npz", "--quiet")
    assert code == 0
    assert "60 images of 5x3, 2 classes" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--initializers", "he_atuo"], r"--initializers: .*'he_atuo'.*Did you mean 'he_auto'\?"),
        (["--activations", "rleu"], r"--activations: .*'rleu'.*Did you mean 'relu'\?"),
        (["--trials=-1"], r"--trials: received -1; allowed: a whole number above 0"),
        (["--epochs", "0"], r"--epochs: received 0"),
        (["--seeds", "0"], r"--seeds: received 0"),
        (["--depth=-3"], r"--depth: received -3"),
        (["--patience", "0"], r"--patience: received 0"),
        (["--learning-rates", "fast"], r"--learning-rates: received 'fast'.*Example"),
        (["--learning-rates=-0.1"], r"--learning-rates: .*-0.1.*positive"),
        (["--tuner", "gird"], r"--tuner: received 'gird'.*Did you mean 'grid'"),
        (["--dataset", "digit"], r"dataset: received 'digit'.*Did you mean 'digits'"),
        (["--csv", "missing.csv", "--target", "y"], r"--csv: .*missing.csv"),
        (["--csv", "empty.csv", "--target", "y"], r"--csv: .*empty"),
        (["--csv", "words.csv", "--target", "y"], r"--csv: .*red"),
        (["--csv", "words.csv", "--target", "z"], r"--target: .*'z'"),
        (["--csv", "words.csv"], r"--target: received None"),
        (["--csv", "nan.csv", "--target", "y"], r"--csv: .*nan"),
        (["--csv", "one.csv", "--target", "y"], r"--target: .*one class|--target: .*class"),
        (["--target", "y"], r"--target: .*--csv"),
        (["--npz", "words.csv"], r"--npz: "),
        (["--results", "words.csv/inside"], r"--results: .*words.csv"),
        (["--logs", "words.csv"], r"--logs: .*words.csv"),
        (["--resume"], r"--results: .*Leave --resume out"),
        (["--resume", "--overwrite"], r"--resume: .*--overwrite"),
        (["--trials", "many"], r"'--trials'.*integer.*--help"),
        (["--no-such-option"], r"--no-such-option"),
    ],
)
def test_bad_input_is_one_line_with_the_way_out(capsys, tmp_path, arguments, says):
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "words.csv").write_text("a,y\n" + "red,0\nblue,1\n" * 10)
    (tmp_path / "nan.csv").write_text("a,y\n" + "nan,0\n2,1\n" * 10)
    (tmp_path / "one.csv").write_text("a,y\n" + "1,0\n2,0\n" * 10)
    before = files(tmp_path)
    code, out, err = run(capsys, *TUNE, *arguments)
    assert code == 2
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert err.strip() == errors[0]
    assert re.search(says, errors[0]), errors[0]
    assert "Traceback" not in out + err
    assert files(tmp_path) == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder(capsys, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    code, _, err = run(capsys, *TUNE, "--results", "locked/here")
    assert code == 2
    assert "--results" in err
    assert "locked" in err


def test_an_existing_search_is_neither_overwritten_nor_mixed(capsys, tmp_path):
    assert run(capsys, *TUNE, "--quiet")[0] == 0
    before = files(tmp_path)
    code, _, err = run(capsys, *TUNE)
    assert code == 2
    assert "--resume" in err
    assert "--overwrite" in err
    code, _, err = run(capsys, *TUNE, "--resume", "--epochs", "3")
    assert code == 2
    assert err.startswith("error: --epochs: received 3; allowed: 1")
    assert files(tmp_path) == before


def test_resuming_a_finished_search_trains_nothing(capsys, tmp_path):
    assert run(capsys, *TUNE, "--quiet")[0] == 0
    before = json.loads((tmp_path / "results/tune/results.json").read_text())
    assert run(capsys, *TUNE, "--resume", "--quiet")[0] == 0
    assert json.loads((tmp_path / "results/tune/results.json").read_text()) == before


def test_a_folder_with_other_files_is_left_alone(capsys, tmp_path):
    (tmp_path / "results/tune").mkdir(parents=True)
    (tmp_path / "results/tune/thesis.tex").write_text("mine")
    code, _, err = run(capsys, *TUNE, "--overwrite")
    assert code == 2
    assert "--results" in err
    assert (tmp_path / "results/tune/thesis.tex").read_text() == "mine"


def test_help_and_no_arguments(capsys):
    code, out, _ = run(capsys)
    assert code == 0
    assert "tune" in out
    assert "study" in out
    code, out, _ = run(capsys, "tune", "--help")
    assert code == 0
    for option in ("--csv", "--target", "--npz", "--tuner", "--trials", "--resume", "--quiet"):
        assert option in out


def test_the_line_that_resumes():
    assert (
        resume_line(["tune", "--csv", "a b.csv", "--overwrite"])
        == "keras-initx tune --csv 'a b.csv' --resume"
    )


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_saves_says_how_to_resume_and_resuming_finishes(tmp_path):
    command = [sys.executable, "-m", "keras_initx.tuning", *TUNE[1:], "--epochs", "40", "--seeds", "3"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background makes them ignore Ctrl-C, which children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    database = tmp_path / "results/tune/study.db"
    deadline = time.monotonic() + 120
    # The curves of a seed are written once its result is stored.
    while time.monotonic() < deadline and not list(tmp_path.glob("runs/tune/trial_*/seed_*")):
        time.sleep(0.1)
    assert database.exists()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in out + err
    assert "--resume" in err
    saved = json.loads((tmp_path / "results/tune/results.json").read_text())
    done = {(t["number"], seed) for t in saved["trials"] for seed in t["seeds"]}
    assert done
    subprocess.run([*command, "--resume", "--quiet"], check=True, capture_output=True)
    final = json.loads((tmp_path / "results/tune/results.json").read_text())
    assert len(final["trials"]) == 4
    assert all(len(t["seeds"]) == 3 and t["status"] == "completed" for t in final["trials"])
    for trial in saved["trials"]:
        for seed, record in trial["seeds"].items():
            # The very record, with its seconds: it was not run again.
            assert final["trials"][trial["number"]]["seeds"][seed] == record
