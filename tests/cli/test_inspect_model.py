"""`keras-initx inspect` shows the plan of `initialize`, and saves what Python would compute."""

import json

import keras
import numpy as np
import pytest

from keras_initx import cli, initialize

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    keras.utils.clear_session(free_memory=False)
    layers = [keras.layers.Dense(16, activation="gelu") for _ in range(6)]
    model = keras.Sequential([keras.Input((8,)), *layers, keras.layers.Dense(3)])
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(path)
    return path


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(["inspect", *map(str, arguments)])
    return stop.value.code


def weights(path):
    return [keras.ops.convert_to_numpy(v) for v in keras.saving.load_model(path).weights]


def test_it_prints_the_plan_and_writes_nothing(saved, capsys):
    before = saved.read_bytes()
    assert run(saved, "--seed", 1) == 0
    out = capsys.readouterr().out
    assert "mirrored" in out
    assert "dense/kernel" in out
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == ["model.keras"]


def test_apply_saves_the_weights_that_python_draws(saved, tmp_path, capsys):
    target = tmp_path / "out.keras"
    assert run(saved, "--apply", target, "--seed", 4, "--method", "edge", "--skip", "dense_*") == 0
    assert f"Saved: {target}" in capsys.readouterr().out
    model = keras.saving.load_model(saved)
    initialize(model, "edge", seed=4, skip=["dense_*"])
    for mine, theirs in zip(weights(target), model.weights, strict=True):
        np.testing.assert_array_equal(mine, keras.ops.convert_to_numpy(theirs))


def test_json_and_data(saved, tmp_path, capsys):
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(5, 2, (50, 8)).astype("float32"))
    assert run(saved, "--json", "--data", tmp_path / "data.npz") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["dry_run"]
    assert len(plan["rows"]) == 7


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["no.keras"], "error: no such file: 'no.keras'."),
        (["{saved}", "--method", "atuo"], "--method 'atuo' is not known. Did you mean 'auto'?"),
        (["{saved}", "--apply", "{saved}"], "--apply must be another file than the model itself, got "),
        (["{saved}", "--apply", "out.h5"], "--apply must be a file name that ends in .keras, got 'out.h5'"),
        (["{saved}", "--only", "heda"], "--only 'heda' matches no layer and no weight"),
        (["{saved}", "--data", "no.npz"], "--data must be an .npz file with an array x"),
    ],
)
def test_bad_input_is_one_line(saved, capsys, arguments, text):
    assert run(*(a.format(saved=saved) for a in arguments)) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1


def test_a_file_that_keras_cannot_load(tmp_path, capsys):
    path = tmp_path / "broken.keras"
    path.write_text("no zip")
    assert run(path) == 2
    error = capsys.readouterr().err
    assert "error: Keras cannot load '" in error
    assert "call keras_initx.initialize(model) in Python instead." in error
