"""Test how columns become numbers, and that a saved model does the same to raw rows."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras_initx.tuning import model_rows
from keras_initx.tuning.data.columns import MOST_CATEGORIES, MOST_WORDS, ColumnEncoder, kinds_of
from keras_initx.tuning.data.tables import Table

from keras_initx import InitxError


def frame_of(**columns: Any) -> Any:
    import pandas as pd

    return pd.DataFrame(columns)


def kinds(**columns: Any) -> dict[str, str]:
    frame = frame_of(**columns)
    return kinds_of(Table("a.csv", frame, [f"line {i + 2}" for i in range(len(frame))]))


@pytest.fixture(scope="module")
def mixed() -> Any:
    """Numbers with and without gaps, categories with gaps, free text."""
    rng = np.random.default_rng(0)
    size = rng.normal(50, 9, 40)
    size[::5] = np.nan
    colours = np.array(["red", "blue", None], object)[rng.integers(0, 3, 40)]
    text = [" ".join(rng.permutation(["bright", "old", "quiet", f"word{i}"])) for i in range(40)]
    return frame_of(**{"size": size, "km/h": rng.integers(1, 9, 40), "colour": colours, "ad": text})


def test_kinds_of_columns() -> None:
    rows = 12
    found = kinds(
        number=range(rows),
        gaps=[None, 1.5] * 6,
        flag=[True, False] * 6,
        flags=[True, None] * 6,
        objects=np.array([1, 2.5, 10**30] * 4, object),
        category=["a", "b"] * 6,
        half=["a"] * 6 + [f"b{i}" for i in range(6)],
        text=[f"one two three {i}" for i in range(rows)],
        repeated=["one two three"] * rows,
        mixed=["1", 2, "x"] * 4,
        empty=[None] * rows,
        versions=["1.2.3", "10-12-14", "2020-2021"] * 4,
        some_dates=["2020-01-01", "never"] * 6,
    )
    assert found == {
        **dict.fromkeys(("number", "gaps", "flag", "flags", "objects"), "number"),
        **dict.fromkeys(("category", "half", "repeated", "mixed", "versions", "some_dates"), "category"),
        "text": "text",
    }


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([f"id{i}" for i in range(9)], r"has text in column 'a' that names the rows: 9 values in 9 cells"),
        ([*map(str, range(8))], r"has text in column 'a' that names the rows: 8 values in 8 cells"),
        ([*map(str, range(8)), "x"], r"has 'x' in column 'a', line 10, among numbers"),
        ([1.0, np.inf], r"must be finite in float32, got inf in column 'a', line 3"),
        ([1.0, 1e39], r"must be finite in float32, got 1e\+39 in column 'a', line 3"),
        (["2020-01-01", "2020-01-02"] * 5, r"must hold numbers or text, got dates such as '2020-01-01' in"),
        (["31.1.2020 ", "1.2.2020"] * 5, r"must hold numbers or text, got dates such as '31.1.2020' in"),
        (["1/31/2020"] * 18 + ["soon"] * 2, r"must hold numbers or text, got dates such as '1/31/2020' in"),
        (["2020-01-01T10:00:00Z", "2020-01-01 10:00"] * 2, r"must .*, got dates such as '2020-01-01T10:00"),
        ([np.datetime64("2020-01-01")] * 2, r"must hold numbers or text, got Timestamp in column 'a'"),
        ([[1], [2]], r"must hold numbers or text, got list in column 'a'"),
    ],
)
def test_refuses_a_column_with_the_way_out(cells: list[Any], message: str) -> None:
    with pytest.raises(InitxError, match=f"^`path` 'a.csv' {message}.* leave the column out with `drop=a`"):
        kinds(a=cells)


def test_refuses_names_that_are_one_for_keras() -> None:
    with pytest.raises(InitxError, match=r"has the columns .* which have the same name in Keras"):
        kinds(**{"a/b": [1, 2], "a_b": [1, 2]})


def test_numbers_are_standardized_by_the_given_rows_and_gaps_are_their_mean(mixed: Any) -> None:
    encoder = ColumnEncoder.adapted({"size": "number", "km/h": "number"}, mixed[:30])
    first, rest = encoder.encode(mixed[:30]), encoder.encode(mixed[30:])
    size = mixed["size"].to_numpy()
    gaps = np.isnan(size)
    mean, std = np.nanmean(size[:30]), np.nanstd(size[:30])
    scaled = np.where(gaps, 0, (size - mean) / std)
    np.testing.assert_allclose(np.concatenate([first, rest])[:, 0], scaled, atol=1e-5)
    # The further entry says where the gaps are; a column without gaps has none.
    np.testing.assert_array_equal(np.concatenate([first, rest])[:, 2], gaps)
    assert first.shape == (30, 3)


def test_columns_of_every_type_of_pandas() -> None:
    import pandas as pd

    frame = frame_of(
        flag=[True, False, True, True],
        gaps=[True, None, False, True],
        nullable=pd.array([1, None, 3, 1], "Int64"),
        category=pd.Categorical(["a", None, "a", "b"]),
        string=pd.array(["a", None, "a", "b"], "string"),
    )
    names = kinds_of(Table("a.csv", frame, [""] * 4))
    columns = ColumnEncoder(names, None, (), {}).columns_of(frame)
    nan = np.nan
    expected = {"flag": [1, 0, 1, 1], "gaps": [1, nan, 0, 1], "nullable": [1, nan, 3, 1]}
    for name, values in expected.items():
        np.testing.assert_array_equal(columns[name], np.float32(values)[:, None])
    for name in ("category", "string"):
        assert columns[name][:, 0].tolist() == ["a", "", "a", "b"]


def test_categories_are_one_hot_with_one_entry_for_unknown_ones() -> None:
    encoder = ColumnEncoder.adapted({"c": "category"}, frame_of(c=["a", None, "b", "a"]))
    codes = encoder.encode(frame_of(c=["a", "b", None, "new", "other"]))
    assert (codes.sum(axis=1) == 1).all()
    places = codes.argmax(axis=1).tolist()
    assert places[3] == places[4]
    assert len(set(places)) == 4


def test_only_the_most_frequent_categories_and_words_have_an_entry() -> None:
    many = [f"c{i}" for i in range(MOST_CATEGORIES + 30)]
    encoder = ColumnEncoder.adapted({"c": "category"}, frame_of(c=[*many, *many[-20:]]))
    codes = encoder.encode(frame_of(c=many))
    assert codes.shape[1] == MOST_CATEGORIES + 1
    assert len(set(codes[-20:].argmax(axis=1))) == 20
    words = [" ".join(f"w{i}x{j}" for j in range(40)) for i in range(20)]
    assert ColumnEncoder.adapted({"t": "text"}, frame_of(t=words)).encode(frame_of(t=words)).shape == (
        20,
        MOST_WORDS,
    )


def test_a_bag_of_words_ignores_order_and_case() -> None:
    encoder = ColumnEncoder.adapted({"t": "text"}, frame_of(t=["old quiet flat", "new loud flat"]))
    codes = encoder.encode(frame_of(t=["old quiet flat", "Flat, quiet: OLD!", "new loud flat", None]))
    np.testing.assert_array_equal(codes[0], codes[1])
    assert codes[0].sum() == 3
    assert not (codes[0] == codes[2]).all()
    assert not codes[3].any()


def test_a_saved_model_takes_raw_rows_and_gives_what_its_network_gives(mixed: Any, tmp_path: Path) -> None:
    encoder = ColumnEncoder.adapted(kinds_of(Table("a.csv", mixed, [""] * len(mixed))), mixed[:30])
    features = encoder.encode(mixed)
    network = keras.Sequential([keras.Input(features.shape[1:]), keras.layers.Dense(2, activation="softmax")])
    network.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    expected = network.predict(features, verbose=0)
    encoder.in_front_of(network).save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert {tensor.name for tensor in loaded.inputs} == {"size", "km_h", "colour", "ad"}
    if keras.backend.backend() != "tensorflow":
        with pytest.raises(InitxError, match=r"Text cannot be an input .*KERAS_BACKEND=tensorflow"):
            model_rows(loaded, mixed)
        return
    rows = model_rows(loaded, mixed.assign(unused=1))
    np.testing.assert_allclose(loaded.predict(rows, verbose=0), expected, atol=1e-6)
    figures = loaded.evaluate(rows, np.zeros(len(mixed)), verbose=0, return_dict=True)
    assert figures["accuracy"] == pytest.approx((expected.argmax(axis=1) == 0).mean())


def test_a_model_of_numbers_takes_raw_rows_on_every_backend(tmp_path: Path) -> None:
    frame = frame_of(a=[1.0, 2.0, np.nan, 5.0], b=[1, 2, 3, 4])
    encoder = ColumnEncoder.adapted({"a": "number", "b": "number"}, frame)
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    network.compile("sgd", "mse")
    encoder.in_front_of(network).save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    expected = network.predict(encoder.encode(frame), verbose=0)
    np.testing.assert_allclose(loaded.predict(model_rows(loaded, frame), verbose=0), expected, atol=1e-6)
    with pytest.raises(InitxError, match="`frame` has no column 'b', which `model`"):
        model_rows(loaded, frame[["a"]])


def model_of(**kinds: str) -> keras.Model:
    """A model that takes columns of the given kinds by name."""
    frame = frame_of(
        **{name: [1, 2] if kind == "number" else ["red", "blue"] for name, kind in kinds.items()}
    )
    encoder = ColumnEncoder.adapted(kinds, frame)
    network = keras.Sequential([keras.Input(encoder.encode(frame).shape[1:]), keras.layers.Dense(1)])
    network.compile("sgd", "mse")
    return encoder.in_front_of(network)


def test_raw_rows_are_read_as_the_file_was() -> None:
    raw = frame_of(
        **{" km/h\n": ["1", " ?", "2", " "], "flag ": [True, False, None, True], "size": [1, 2, 3, 4]}
    )
    rows = model_rows(model_of(**{"km/h": "number", "flag": "number", "size": "number"}), raw)
    nan = np.nan
    expected = {"km_h": [1, nan, 2, nan], "flag": [1, 0, nan, 1], "size": [1, 2, 3, 4]}
    for name, values in expected.items():
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(rows[name]), np.float32(values)[:, None])
    if keras.backend.backend() == "tensorflow":
        rows = model_rows(model_of(city="category"), frame_of(**{" city ": [" red", "red ", "?", None, 3]}))
        assert [cell.decode() for cell in rows["city"].numpy()[:, 0]] == ["red", "red", "", "", "3"]


def test_a_column_of_exactly_the_name_comes_first() -> None:
    raw = frame_of(**{"a": [1.0], " a": [2.0]})
    assert keras.ops.convert_to_numpy(model_rows(model_of(a="number"), raw)["a"]).tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([1, "big"], "^`frame` must hold numbers in column 'a', got 'big'"),
        ([np.datetime64("2020-01-01")] * 2, "^`frame` must hold numbers in column 'a', got '2020-01-01"),
    ],
)
def test_raw_rows_of_another_kind_name_the_column(cells: list[Any], message: str) -> None:
    with pytest.raises(InitxError, match=message):
        model_rows(model_of(a="number"), frame_of(a=cells))
    if "big" not in cells and keras.backend.backend() == "tensorflow":
        with pytest.raises(InitxError, match=r"^`frame` must hold text or numbers in column 'a', got '2020"):
            model_rows(model_of(a="category"), frame_of(a=cells))


@pytest.mark.parametrize("rows", [{"a": 1}, [{"a": 1}], frame_of(a=[1])["a"]])
def test_raw_rows_that_are_no_frame(rows: Any) -> None:
    with pytest.raises(InitxError, match=r"^`frame` must be a pandas data frame, got .*pandas\.DataFrame\("):
        model_rows(model_of(a="number"), rows)
