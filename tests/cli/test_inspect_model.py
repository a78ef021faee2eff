"""`keras-initx inspect` shows the plan of `initialize`, and saves what Python would compute."""

import io
import json
import zipfile

import keras
import numpy as np
import pytest

from keras_initx import initialize
from tests.support.commands import exit_code

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    keras.utils.clear_session(free_memory=False)
    layers = [keras.layers.Dense(16, activation="gelu") for _ in range(6)]
    model = keras.Sequential([keras.Input((8,)), *layers, keras.layers.Dense(3)])
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(path)
    return path


def inspect(*arguments):
    return exit_code("inspect", *arguments)


def weights(path):
    return [keras.ops.convert_to_numpy(v) for v in keras.saving.load_model(path).weights]


def test_it_prints_the_plan_and_writes_nothing(saved, capsys):
    before = saved.read_bytes()
    assert inspect(saved, "--seed", 1) == 0
    out = capsys.readouterr().out
    assert "mirrored" in out
    assert "dense/kernel" in out
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == ["model.keras"]


def test_apply_saves_the_weights_that_python_draws(saved, tmp_path, capsys):
    target = tmp_path / "out.keras"
    assert inspect(saved, "--apply", target, "--seed", 4, "--method", "edge", "--skip", "dense_*") == 0
    assert f"Saved: {target}" in capsys.readouterr().out
    model = keras.saving.load_model(saved)
    initialize(model, "edge", seed=4, skip=["dense_*"])
    for mine, theirs in zip(weights(target), model.weights, strict=True):
        np.testing.assert_array_equal(mine, keras.ops.convert_to_numpy(theirs))


def test_json_and_data(saved, tmp_path, capsys):
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(5, 2, (50, 8)).astype("float32"))
    assert inspect(saved, "--json", "--data", tmp_path / "data.npz") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["dry_run"]
    assert len(plan["rows"]) == 7


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["no.keras"], "error: FILE.keras must be an existing file that ends in .keras, got 'no.keras'."),
        (["model.h5"], "got 'model.h5'. Save the model with model.save('FILE.keras')."),
        (["{saved}", "--method", "atuo"], "--method 'atuo' is not known. Did you mean 'auto'?"),
        (["{saved}", "--apply", "{saved}"], "--apply must be a file other than the model itself, got "),
        (["{saved}", "--apply", "out.h5"], "--apply must be a file name that ends in .keras, got 'out.h5'"),
        (["{saved}", "--overwrite"], "--overwrite needs --apply: without it nothing is written. Add --apply"),
        (["{saved}", "--apply", "{folder}", "--overwrite"], "is a folder. Choose another file name."),
        (["{saved}", "--apply", "{folder}"], "is a folder. Choose another file name."),
        (["{saved}", "--only", "heda"], "--only 'heda' matches no layer and no weight"),
        (["{saved}", "--data", "no.npz"], "--data must be an .npz file with an array x"),
    ],
)
def test_bad_input_is_one_line(saved, tmp_path, capsys, arguments, text):
    folder = tmp_path / "folder.keras"
    folder.mkdir()
    assert inspect(*(a.format(saved=saved, folder=folder) for a in arguments)) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("link", [None, "to a file", "to nothing"])
def test_an_existing_file_is_overwritten_on_request_only(saved, tmp_path, capsys, link):
    target = other = tmp_path / "out.keras"
    if link is not None:
        other = tmp_path / "other.keras"
        target.symlink_to(other)
    if link != "to nothing":
        other.write_text("precious")
    assert inspect(saved, "--apply", target, "--seed", 4) == 2
    assert capsys.readouterr().err.endswith("exists. Choose another file name, or add --overwrite.\n")
    assert not other.exists() or other.read_text() == "precious"
    assert inspect(saved, "--apply", target, "--seed", 4, "--overwrite") == 0
    assert len(weights(other)) == 14


def damaged_files():
    """Yield the bytes of .npz files that cannot be read, each for another reason."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.random.default_rng(0).normal(size=(50, 8)))
    whole = buffer.getvalue()
    middle = len(whole) // 2
    yield b""
    yield b"no zip"
    yield whole[:middle]
    yield whole[:middle] + bytes(200) + whole[middle + 200 :]
    objects = io.BytesIO()
    np.savez(objects, x=np.array([{}], dtype=object))
    yield objects.getvalue()
    single = io.BytesIO()
    np.save(single, np.zeros(3))
    yield single.getvalue()
    # A header that claims 29 terabytes.
    claims = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        claims, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 4)}
    )
    terabytes = io.BytesIO()
    with zipfile.ZipFile(terabytes, "w") as archive:
        archive.writestr("x.npy", claims.getvalue() + bytes(64))
    yield terabytes.getvalue()


@pytest.mark.parametrize(
    "content", list(damaged_files()), ids=["empty", "text", "cut", "zeros", "objects", "npy", "terabytes"]
)
def test_damaged_data_is_one_line(saved, tmp_path, capsys, content):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    assert inspect(saved, "--data", path) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --data must be an .npz file with an array x")
    assert error.count("\n") == 1


def test_a_file_that_keras_cannot_load(tmp_path, capsys):
    path = tmp_path / "broken.keras"
    path.write_text("no zip")
    assert inspect(path) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: FILE.keras '{path}' cannot be loaded by Keras (")
    assert "call keras_initx.initialize(model) in Python instead." in error


@pytest.mark.parametrize("command", ["inspect", "compare"])
def test_a_class_that_keras_does_not_know_is_named(tmp_path, capsys, command):
    class Unknown(keras.layers.Layer):
        def call(self, x):
            return x

    model = keras.Sequential([keras.Input((3,)), Unknown(), keras.layers.Dense(2)])
    path = tmp_path / "model.keras"
    model.save(path)
    assert exit_code(command, path) == 2
    error = capsys.readouterr().err
    name, call = ("FILE.keras", "initialize") if command == "inspect" else ("MODEL.keras", "compare")
    assert f"{name} '{path}' cannot be loaded by Keras (it does not know the class 'Unknown')" in error
    assert f"call keras_initx.{call}(model) in Python instead." in error


def test_arrays_of_other_names(saved, tmp_path, capsys):
    np.savez(tmp_path / "data.npz", X=np.zeros((4, 8)), Y=np.zeros(4))
    assert inspect(saved, "--data", tmp_path / "data.npz") == 2
    assert (
        "an array x, or one for each input of the model by its name (its inputs: " in capsys.readouterr().err
    )
