"""Test the reader of npz files through `load_npz`, and files that cannot be opened."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from keras_initx.tuning.data import from_arrays, load_npz, load_table

from keras_initx import InitxError
from tests.support.datasets import ROWS, X, Y, assert_message, assert_same, csv_text, write

pytestmark = pytest.mark.check


class TestLoadNpz:
    def save(self, tmp_path: Path, **arrays: npt.ArrayLike) -> Path:
        np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
        return tmp_path / "a.npz"

    @pytest.mark.parametrize("names", [("x", "y"), ("x_train", "y_train")])
    def test_is_split_as_the_arrays_are(self, tmp_path: Path, names: tuple[str, str]) -> None:
        data = load_npz(self.save(tmp_path, **dict(zip(names, (X, Y), strict=True)), other=X))
        assert data.name == "a"
        assert_same(data, from_arrays(X, Y))

    def test_array_order_and_compression_make_no_difference(self, tmp_path: Path) -> None:
        np.savez_compressed(tmp_path / "b.npz", y_test=Y, x_test=-X, y_train=Y, x_train=X)
        assert_same(load_npz(tmp_path / "b.npz"), from_arrays(X, Y, x_test=-X, y_test=Y))

    def test_keeps_the_test_part(self, tmp_path: Path) -> None:
        images = np.arange(ROWS * 4, dtype=np.uint8).reshape(ROWS, 2, 2)
        data = load_npz(self.save(tmp_path, x_train=images, y_train=Y, x_test=images[:3] + 90, y_test=Y[:3]))
        assert data.input_shape == (2, 2)
        np.testing.assert_array_equal(data.x_test, images[:3] + 90)
        np.testing.assert_array_equal(data.y_test, Y[:3])
        assert sorted(np.concatenate([data.x_train, data.x_validation]).ravel()) == list(range(ROWS * 4))

    def test_one_hot_and_column_labels(self, tmp_path: Path) -> None:
        plain = from_arrays(X, Y)
        assert_same(load_npz(self.save(tmp_path, x=X, y=np.eye(2)[Y])), plain)
        assert_same(load_npz(self.save(tmp_path, x=X, y=Y[:, None])), plain)

    @pytest.mark.parametrize(
        ("arrays", "fragments"),
        [
            ({}, ("no arrays", "x and y", "numpy.savez")),
            ({"a": X, "b": Y}, ("the arrays a, b", "x and y, or x_train and y_train", "numpy.savez")),
            ({"x": X, "y_train": Y}, ("the arrays x, y_train", "x and y", "numpy.savez")),
            ({"x": X, "y": Y, "x_train": X, "y_train": Y}, ("x, x_train, y, y_train", "either", "savez")),
            ({"x": X, "y": Y.astype(object)}, ("a.npz", "without Python objects", "arrays of numbers")),
            ({"x": X, "y": Y, "x_test": X}, ("y_test is missing", "together", "both or neither")),
            ({"x": X[:, 0], "y": Y}, (": x must be of shape (rows, features)", "(20,)", "reshape")),
            (
                {"x_train": X * np.nan, "y_train": Y},
                ("x_train must be finite", "nan at index (0, 0)", "Drop"),
            ),
            (
                {"x_train": X, "y_train": Y[:-1]},
                ("y_train must have one label", "20 rows, got 19", "same rows"),
            ),
            ({"x": X, "y": Y * 0}, (": y must have at least two classes", "only '0'", "Check")),
            (
                {"x": X, "y": Y, "x_test": X, "y_test": Y + 5},
                (": y_test must contain only the classes 0, 1, got 5", "Correct"),
            ),
        ],
    )
    def test_rejects_arrays(
        self, tmp_path: Path, arrays: dict[str, npt.NDArray], fragments: tuple[str, ...]
    ) -> None:
        with pytest.raises(InitxError) as caught:
            load_npz(self.save(tmp_path, **arrays))
        assert_message(caught.value, "path", *fragments)

    def saved(self) -> bytes:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, x=X, y=Y)
        return buffer.getvalue()

    def single(self) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, X)
        return buffer.getvalue()

    def huge(self) -> bytes:
        """Return a file whose headers claim 29 terabytes."""
        claims, buffer = io.BytesIO(), io.BytesIO()
        header = {"descr": "<f8", "fortran_order": False, "shape": (10**12, 4)}
        np.lib.format.write_array_header_1_0(claims, header)
        with zipfile.ZipFile(buffer, "w") as archive:
            for name in ("x.npy", "y.npy"):
                archive.writestr(name, claims.getvalue() + bytes(64))
        return buffer.getvalue()

    @pytest.mark.parametrize("kind", ["empty", "text", "truncated", "single array", "damaged", "huge"])
    def test_rejects_a_file_that_is_no_npz(self, tmp_path: Path, kind: str) -> None:
        whole = self.saved()
        content = {
            "empty": b"",
            "text": b"a,b\n1,2\n",
            "truncated": whole[:-30],
            "single array": self.single(),
            "huge": self.huge(),
            "damaged": whole[:60] + b"\xff" * 40 + whole[100:],
        }[kind]
        with pytest.raises(InitxError) as caught:
            load_npz(write(tmp_path / "a.npz", content))
        assert_message(caught.value, "path", "a.npz", "an intact npz file", "numpy.savez")

    def test_rejects_a_zip_of_something_else(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("x", "text")
            archive.writestr("y", "text")
        with pytest.raises(InitxError) as caught:
            load_npz(tmp_path / "a.npz")
        assert_message(caught.value, "path", ": x must contain real numbers", "dtype")

    def test_no_damage_leaks_another_exception(self, tmp_path: Path) -> None:
        whole = self.saved()
        generator = np.random.default_rng(0)
        rejected = 0
        for _ in range(200):
            damaged = bytearray(whole)
            damaged[generator.integers(len(whole))] = generator.integers(256)
            try:
                load_npz(write(tmp_path / "a.npz", bytes(damaged)))
            except InitxError:
                rejected += 1
        assert rejected > 100


@pytest.mark.parametrize(
    "load",
    [lambda path: load_table(path, "label"), load_npz],
    ids=["table", "npz"],
)
class TestUnreadableFile:
    def test_missing(self, tmp_path: Path, load: Callable[..., Any]) -> None:
        with pytest.raises(InitxError) as caught:
            load(tmp_path / "none")
        assert_message(caught.value, "path", "none", "cannot be read: No such file", "Check the path")

    def test_folder(self, tmp_path: Path, load: Callable[..., Any]) -> None:
        with pytest.raises(InitxError) as caught:
            load(tmp_path)
        assert_message(caught.value, "path", "cannot be read: Is a directory", "Check the path")

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read every file")
    def test_forbidden(self, tmp_path: Path, load: Callable[..., Any]) -> None:
        path = write(tmp_path / "a", csv_text())
        path.chmod(0)
        with pytest.raises(InitxError) as caught:
            load(path)
        assert_message(caught.value, "path", "cannot be read: Permission denied", "its permissions")
