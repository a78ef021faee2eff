"""Test `keras-initx tune train.py`: loading the file, its errors in one sentence, and a whole search."""

import json
import re
import sys

import keras
import keras_tuner
import numpy as np
import pytest

from keras_initx import InitxError
from keras_initx.cli.subjects.script import load_script
from tests.support.commands import run
from tests.support.scripts import BUILD, write_script

pytestmark = pytest.mark.one_backend

# A single trial with a single seed.
ONE = ["--trials", "1", "--seeds", "1", "--initializers", "he_auto", "--no-jit-compile", "--quiet"]


@pytest.fixture(autouse=True)
def _restore_the_path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.parametrize(
    ("returned", "names"),
    [
        ('{"x": x, "y": y, "epochs": 3}', {"x", "y", "epochs"}),
        ("(x, y)", {"x", "y"}),
        ("(x, y, np.ones(60))", {"x", "y", "sample_weight"}),
        ("(x,)", {"x"}),
        ("x", {"x"}),
        ("lambda: iter([(x, y)])", {"x"}),
        ('{"x": {"a": x}, "y": y}', {"x", "y"}),
        ('{"x": [x, x], "y": y}', {"x", "y"}),
        ("iter([(x, y)])", {"x"}),
    ],
)
def test_data_returns_the_arguments_of_fit(tmp_path, returned, names):
    _, arguments = load_script(write_script(tmp_path / "own_file.py", returned))
    assert set(arguments) == names


def test_build_may_take_nothing_or_be_a_hypermodel(tmp_path):
    nothing = BUILD.replace("build(hp)", "build()").replace('hp.Choice("units", [3, 5])', "4")
    build, _ = load_script(write_script(tmp_path / "own_file.py", build=nothing))
    assert isinstance(build(), keras.Model)
    hypermodel = (
        BUILD.replace("def build(hp)", "def make(hp)")
        + "\n\nimport keras_tuner\nclass Own(keras_tuner.HyperModel):\n"
        "    def build(self, hp):\n        return make(hp)\n\n\nbuild = Own()\n"
    )
    build, _ = load_script(write_script(tmp_path / "other_file.py", build=hypermodel))
    assert isinstance(build, keras_tuner.HyperModel)
    of_class = hypermodel.replace("build = Own()", "build = Own")
    build, _ = load_script(write_script(tmp_path / "third_file.py", build=of_class))
    assert isinstance(build.build(keras_tuner.HyperParameters()), keras.Model)
    with pytest.raises(InitxError, match=r"has no function build\(\)\. Add a line: build = Own\."):
        load_script(write_script(tmp_path / "a_file.py", build=hypermodel.replace("build = Own()", "")))
    needy = of_class.replace(
        "    def build(self", "    def __init__(self, n):\n        pass\n\n    def build(self"
    )
    with pytest.raises(InitxError, match=r"build\(\) of '.*' cannot be run \(TypeError: .*'n'"):
        load_script(write_script(tmp_path / "b_file.py", build=needy))


def test_modules_next_to_the_file_can_be_imported_but_hide_nothing(tmp_path):
    (tmp_path / "neighbour_of_a_script.py").write_text("UNITS = 7\n")
    (tmp_path / "numpy.py").write_text("raise RuntimeError('a stranger')\n")
    (tmp_path / "optuna.py").write_text("raise RuntimeError('a stranger')\n")
    source = "import neighbour_of_a_script\nimport optuna.samplers\n" + BUILD
    load_script(write_script(tmp_path / "own_file.py", build=source))
    assert sys.modules["neighbour_of_a_script"].UNITS == 7
    del sys.modules["neighbour_of_a_script"]


def test_a_main_guard_does_not_run(tmp_path):
    source = BUILD + "\nif __name__ == '__main__':\n    raise SystemExit(3)\n"
    load_script(write_script(tmp_path / "own_file.py", build=source))


@pytest.mark.parametrize(
    ("build", "returned", "message"),
    [
        (BUILD + "\n1 / 0\n", "x", r"FILE '.*' cannot be run \(ZeroDivisionError: .*, line 17\)"),
        (BUILD + "\nimport sys\nsys.exit(1)\n", "x", r"FILE '.*' cannot be run \(SystemExit: 1, line 18\)"),
        (BUILD + "\ndef f(:\n", "x", r"FILE '.*' cannot be run \(SyntaxError: .*line 17\)\)"),
        (BUILD, "x / y", r"data\(\) of '.*' cannot be run \(ValueError: .*broadcast.*, line 20\)"),
        (BUILD.replace("build", "make"), "x", r"FILE '.*' has no function build\(\)\. Define build"),
        (BUILD, "None", r"data\(\) of '.*' must return a dict .*, got None"),
        (BUILD, "((x, y), (x, y))", r"data\(\) of '.*' must return .*, got a tuple of 2, which holds tuples"),
        (BUILD, "42", r"data\(\) of '.*' must return .*, got 42\. For example"),
        (BUILD, "True", r"data\(\) of '.*' must return .*, got True\."),
        (BUILD, "np.float32(3)", r"data\(\) of '.*' must return .*, got .*3"),
        (BUILD, "'data.csv'", r"data\(\) of '.*' must return .*, got 'data\.csv'"),
        (BUILD, "[1, 2]", r"data\(\) of '.*' must return .*, got \[1, 2\]"),
        (BUILD, "('data.csv', y)", r"data\(\) of '.*' must return .*, got x='data\.csv'"),
        (BUILD, '{"x": 42}', r"data\(\) of '.*' must return .*, got x=42"),
        (BUILD, '{"a": x, "b": x}', r"data\(\) of '.*' must return .*, got a dict with a, b and no x"),
        (BUILD, '{"x": x, "stopping": 3}', r"data\(\) .* returns 'stopping', .* model\.fit\.$"),
        (BUILD, '{"x": x, "trials": 3}', r"data\(\) .* returns 'trials'.* Use the option --trials"),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence_with_its_line(tmp_path, build, returned, message):
    with pytest.raises(InitxError, match=message):
        load_script(write_script(tmp_path / "own_file.py", returned, build))


def test_a_file_with_the_name_of_a_module_in_use_is_refused(tmp_path):
    with pytest.raises(InitxError, match=r"has the name of the module 'json', which is in use\. Rename it"):
        load_script(write_script(tmp_path / "json.py"))


def test_a_mistake_in_build_names_the_line(tmp_path):
    build, _ = load_script(
        write_script(tmp_path / "own_file.py", build=BUILD.replace("compile(", "kompile("))
    )
    with pytest.raises(InitxError, match=r"build\(\) of '.*' cannot be run \(AttributeError: .*, line 9\)"):
        build(keras_tuner.HyperParameters())


def test_a_search_of_a_file_and_its_resume(capsys, in_a_new_folder):
    write_script(in_a_new_folder / "own_file.py")
    code, out, err = run(capsys, "tune", "own_file.py", *ONE)
    assert code == 0, err
    assert re.search(r"Winner: units [35], initializer he_auto: validation accuracy", out)
    stored = json.loads((in_a_new_folder / "results/tune/results.json").read_text())
    # What data() says holds unless the command line says something else.
    assert (stored["settings"]["epochs"], stored["settings"]["batch_size"]) == (2, 30)
    code, _, err = run(capsys, "tune", "own_file.py", *ONE, "--resume", "--trials", "2")
    assert code == 0, err
    resumed = json.loads((in_a_new_folder / "results/tune/results.json").read_text())
    assert resumed["trials"][0] == stored["trials"][0]
    assert len(resumed["trials"]) == 2
    best = keras.models.load_model(in_a_new_folder / "results/tune/best_model.keras")
    assert best(np.zeros((1, 4))).shape == (1, 3)


def test_options_replace_what_the_file_says(capsys, in_a_new_folder):
    write_script(in_a_new_folder / "own_file.py")
    more = ["--epochs", "1", "--batch-size", "15", "--optimizer", "sgd", "--objective", "val_loss"]
    code, _, err = run(
        capsys, "tune", "own_file.py", *ONE, *more, "--class-weight", '{"0": 1, "1": 2, "2": 1}'
    )
    assert code == 0, err
    stored = json.loads((in_a_new_folder / "results/tune/results.json").read_text())
    settings = stored["settings"]
    assert (settings["epochs"], settings["batch_size"], settings["objective"]) == (1, 15, "val_loss")
    assert settings["fit"]["class_weight"] == {"0": 1.0, "1": 2.0, "2": 1.0}
    best = keras.models.load_model(in_a_new_folder / "results/tune/best_model.keras")
    assert isinstance(best.optimizer, keras.optimizers.SGD)


def test_a_model_without_accuracy_is_compared_by_its_loss(capsys, in_a_new_folder):
    write_script(in_a_new_folder / "own_file.py", build=BUILD.replace(', metrics=["accuracy"]', ""))
    code, out, err = run(capsys, "tune", "own_file.py", *ONE)
    assert code == 0, err
    assert "validation loss" in out
    code, _, err = run(capsys, "tune", "own_file.py", *ONE, "--objective", "val_accuracy", "--overwrite")
    assert code == 2
    assert err.startswith("error: --objective must be a metric of the model (val_loss, loss), got")


def test_arrays_without_validation_data_are_split_and_it_says_so(capsys, in_a_new_folder):
    write_script(in_a_new_folder / "own_file.py", "(x, y)")
    code, out, err = run(capsys, "tune", "own_file.py", *ONE, "--epochs", "1")
    assert code == 0, err
    assert "20% of its rows, chosen at random, are held back" in out
    assert "validation accuracy" in out


def test_a_build_that_fails_is_not_blamed_on_the_objective(capsys, in_a_new_folder):
    source = BUILD.replace('metrics=["accuracy"]', 'metrics=["acc"]')
    # The first value builds a model, without the metric of the default.
    source = source.replace("    return model", "    assert units == 3, 'broken'\n    return model")
    write_script(in_a_new_folder / "own_file.py", build=source)
    _, _, err = run(capsys, "tune", "own_file.py", *ONE[2:], "--tuner", "grid", "--trials", "2")
    assert "broken" in err
    assert "must be a metric of the model" not in err


@pytest.mark.slow
def test_workers_run_the_file_again(capsys, in_a_new_folder):
    write_script(in_a_new_folder / "own_file.py")
    arguments = ["tune", "own_file.py", *ONE, "--trials", "3", "--workers", "2"]
    code, _, err = run(capsys, *arguments)
    assert code == 0, err
    trials = json.loads((in_a_new_folder / "results/tune/results.json").read_text())["trials"]
    assert [trial["status"] for trial in trials] == ["completed"] * 3
