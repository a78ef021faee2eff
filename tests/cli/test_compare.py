"""`keras-initx compare` and `inspect --plot` show the figures of Python, and report an error in one line."""

import json

import keras
import numpy as np
import pytest

from keras_initx import compare
from tests.support.commands import exit_code

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    hidden = [keras.layers.Dense(12, "relu", name=f"hidden_{n}") for n in range(3)]
    model = keras.Sequential([keras.Input((6,)), *hidden, keras.layers.Dense(2, name="head")], name="net")
    path = tmp_path_factory.mktemp("saved") / "net.keras"
    model.save(path)
    return path


def test_the_table_lists_every_start(saved, tmp_path, capsys):
    before = saved.read_bytes()
    figure = tmp_path / "out.png"
    options = ("--init", "zeros", "--method", "auto", "--layers", "--plot", figure)
    assert exit_code("compare", saved, *options) == 0
    text = capsys.readouterr().out
    for word in ("as it is", "zeros", "initialize: auto", "symmetric", "healthy", "hidden_2", str(figure)):
        assert word in text
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert saved.read_bytes() == before


def test_json_has_the_figures_of_python(saved, tmp_path, capsys):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 6)).astype("float32"), rng.normal(size=(20, 2)).astype("float32")
    np.savez(tmp_path / "data.npz", x=x, y=y)
    assert (
        exit_code(
            "compare", saved, "--init", "he_auto", "--data", tmp_path / "data.npz", "--loss", "mse", "--json"
        )
        == 0
    )
    read = json.loads(capsys.readouterr().out)
    expected = compare(keras.saving.load_model(saved), ["he_auto"], x=x, y=y, loss="mse")
    assert read["reports"]["he_auto"]["loss"] == pytest.approx(expected.reports["he_auto"].loss)


def test_inputs_by_name(tmp_path, capsys):
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    joined = keras.layers.Concatenate()([left, right])
    keras.Model([left, right], keras.layers.Dense(2)(joined)).save(tmp_path / "two.keras")
    rng = np.random.default_rng(0)
    arrays = {"right": rng.normal(size=(9, 3)), "left": rng.normal(size=(9, 4)), "y": rng.normal(size=(9, 2))}
    np.savez(tmp_path / "data.npz", **{name: values.astype("float32") for name, values in arrays.items()})
    options = ("--data", tmp_path / "data.npz", "--loss", "mse", "--json")
    assert exit_code("compare", tmp_path / "two.keras", *options) == 0
    assert json.loads(capsys.readouterr().out)["reports"]["as it is"]["samples"] == 9
    assert exit_code("inspect", tmp_path / "two.keras", "--data", tmp_path / "data.npz") == 0


def test_a_plot_that_cannot_be_written_still_prints_the_table(saved, capsys):
    assert exit_code("compare", saved, "--init", "zeros", "--plot", "/proc/signal.png") == 2
    printed = capsys.readouterr()
    assert "symmetric" in printed.out
    assert printed.err.startswith("error: --plot '/proc/signal.png' cannot be written (")


def test_an_input_named_x(tmp_path):
    inputs = [keras.Input((4,), name="x"), keras.Input((3,), name="mask")]
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Concatenate()(inputs)))
    model.save(tmp_path / "two.keras")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.normal(size=(9, 4)), mask=rng.normal(size=(9, 3)))
    assert exit_code("inspect", tmp_path / "two.keras", "--data", tmp_path / "data.npz") == 0


@pytest.mark.parametrize("arrays", [{"y": np.ones(3)}, {"x": np.ones((3, 6), "float32")}])
def test_missing_arrays(saved, tmp_path, capsys, arrays):
    np.savez(tmp_path / "data.npz", **arrays)
    assert exit_code("compare", saved, "--data", tmp_path / "data.npz", "--loss", "mse") == 2
    assert "--data must be an .npz file with an array x, or one for each input" in capsys.readouterr().err


def test_inspect_plots_before_and_after_and_saves_nothing(saved, tmp_path, capsys):
    before = saved.read_bytes()
    assert exit_code("inspect", saved, "--plot", tmp_path / "signal.svg") == 0
    assert "would initialize" in capsys.readouterr().out
    assert "<svg" in (tmp_path / "signal.svg").read_text()
    assert saved.read_bytes() == before


@pytest.mark.parametrize(
    ("command", "options", "text"),
    [
        ("compare", ("--init", "he_nromal"), "--init 'he_nromal' is not known. Did you mean 'he_normal'"),
        ("compare", ("--method", "edgy"), "--method 'edgy' is not known. Did you mean 'edge'"),
        (
            "compare",
            ("--loss", "mse"),
            "--loss 'mse' needs targets. Pass --data FILE.npz with the arrays x and y.",
        ),
        (
            "compare",
            ("--plot", "signal.txt"),
            "--plot must be a file that ends in .png, .pdf or .svg, got 'signal.txt'",
        ),
        (
            "compare",
            ("--plot", "nowhere/signal.png"),
            "--plot 'nowhere/signal.png' is in a folder that does not",
        ),
        (
            "inspect",
            ("--plot", "nowhere/signal.png"),
            "--plot 'nowhere/signal.png' is in a folder that does not",
        ),
    ],
)
def test_bad_input_is_one_line(saved, capsys, command, options, text):
    assert exit_code(command, saved, *options) == 2
    error = capsys.readouterr().err.strip()
    assert text in error
    assert error.count("\n") == 0
