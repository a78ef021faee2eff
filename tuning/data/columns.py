"""Turn the columns of a table into numbers, with layers of Keras that are saved in front of a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_initx.errors import InitxError

from .files import FLOAT32_MAX, bad_file
from .tables import MISSING, Table, clean_name

MOST_CATEGORIES = 100
"""The number of categories of a column that get an entry of their own: the most frequent ones."""
MOST_WORDS = 500
"""The number of words of a column of free text that get an entry of their own: the most frequent ones."""

# A column whose cells have this many words on average, and seldom repeat, is free text.
_WORDS_OF_FREE_TEXT = 3
# 2020-01-31, 2020/1/31, 31.01.2020 and 1/31/2020, with or without a time.
_DATE = (
    r"(?:(?:1[5-9]|2\d)\d\d([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2(?:1[5-9]|2\d)\d\d)"
    r"(?:[T ]\d{1,2}:\d{2}.*)?"
)
# A column is one of dates if this share of its cells are: others may be misspelled.
_SHARE_OF_DATES = 0.9
_KINDS = {"number": "numeric", "category": "categorical", "text": "text"}


def kinds_of(table: Table) -> dict[str, str]:
    """Return what each column holds: "number", "category" or "text".

    A column of text holds categories if at least half of its cells have a value that occurs twice, and free
    text if its cells have three words or more on average. Empty columns are left out.

    Raises:
        InitxError: A column holds neither: dates, lists, numbers that are not finite, or text that names the
            rows.
    """
    kinds: dict[str, str] = {}
    for name in table.frame.columns:
        column = table.frame[name]
        if input_name(name) != name and input_name(name) in table.frame:
            problem = f"has the columns {name!r} and {input_name(name)!r}, which have the same name in Keras"
            raise bad_file(table.path, problem, "Rename one of them: Keras allows no slash in a name.")
        present = column.dropna()
        if len(present):
            kinds[name] = _kind(table, name, present)
    return kinds


def _kind(table: Table, name: str, present: Any) -> str:
    import pandas as pd

    leave_out = f"leave the column out with `drop={name}`."
    if present.dtype.kind in "biuf" or all(isinstance(cell, int | float | np.number) for cell in present):
        infinite = ~(np.abs(present.to_numpy().astype(np.float64)) <= FLOAT32_MAX)
        if infinite.any():
            cell, place = present[infinite].iloc[0], _place(table, present, infinite)
            problem = f"must be finite in float32, got {cell} in column {name!r}, {place}"
            raise bad_file(table.path, problem, f"Correct the cell, or {leave_out}")
        return "number"
    for cell in present:
        if not isinstance(cell, str | int | float | np.number):
            problem = f"must hold numbers or text, got {type(cell).__name__} in column {name!r}"
            raise bad_file(table.path, problem, f"Turn them into numbers or categories, or {leave_out}")
    text = present.astype(str).str.strip()
    # Even where they repeat: one date is near another, which categories would not say.
    is_date = text.str.fullmatch(_DATE).to_numpy(dtype=bool)
    if is_date.mean() >= _SHARE_OF_DATES:
        problem = f"must hold numbers or text, got dates such as {text[is_date].iloc[0]!r} in column {name!r}"
        raise bad_file(table.path, problem, f"Turn them into numbers such as the month, or {leave_out}")
    counts = text.value_counts()
    if counts[counts > 1].sum() >= len(text) / 2:
        return "category"
    if text.str.split().str.len().mean() >= _WORDS_OF_FREE_TEXT:
        return "text"
    is_text = pd.to_numeric(text, errors="coerce").isna().to_numpy()
    if 0 < is_text.mean() < 0.5:
        cell, place = text[is_text].iloc[0], _place(table, present, is_text)
        problem = f"has {cell[:40]!r} in column {name!r}, {place}, among numbers"
        raise bad_file(table.path, problem, f"Correct the cell, or {leave_out}")
    problem = f"has text in column {name!r} that names the rows: {len(counts)} values in {len(text)} cells"
    remedy = f"Turn it into numbers or into categories that repeat, or {leave_out}"
    raise bad_file(table.path, problem, remedy)


def _place(table: Table, present: Any, chosen: np.ndarray) -> str:
    """Return the position in the file of the first of some cells."""
    return table.places[present.index[int(np.argmax(chosen))]]


@dataclass(frozen=True, eq=False)
class ColumnEncoder:
    """Layers that turn named columns into one row of numbers.

    Numbers are standardized, and a missing one becomes the mean; a column with missing cells gets an entry of
    0 or 1 that says so. Categories become one-hot, with an entry for all that the training rows lack; a
    missing one is a category. Free text becomes a bag of words.

    Args:
        kinds: What each column holds.
        normalization: Standardizes the columns of numbers, in their order; None without such columns.
        gappy: The columns of numbers with missing cells.
        lookups: The layer of each other column.
    """

    kinds: Mapping[str, str]
    normalization: keras.layers.Layer | None
    gappy: Sequence[str]
    lookups: Mapping[str, keras.layers.Layer]

    @classmethod
    def adapted(cls, kinds: Mapping[str, str], frame: Any) -> "ColumnEncoder":
        """Return an encoder whose means and vocabularies come from the rows of a data frame."""
        columns = cls(kinds, None, (), {}).columns_of(frame)
        numbers = [name for name, kind in kinds.items() if kind == "number"]
        normalization, gappy = None, []
        if numbers:
            values = np.concatenate([columns[name] for name in numbers], axis=1).astype(np.float64)
            missing = np.isnan(values)
            known = np.maximum((~missing).sum(axis=0), 1)
            mean = np.where(missing, 0, values).sum(axis=0) / known
            variance = np.where(missing, 0, (values - mean) ** 2).sum(axis=0) / known
            normalization = keras.layers.Normalization(mean=mean, variance=variance)
            gappy = [name for i, name in enumerate(numbers) if missing[:, i].any()]
        lookups = {
            name: _lookup(kind, columns[name]) for name, kind in kinds.items() if kind in ("category", "text")
        }
        return cls(kinds, normalization, gappy, lookups)

    def columns_of(self, frame: Any) -> dict[str, Any]:
        """Return the columns of a data frame as arrays of shape (rows, 1).

        They are float32, with NaN for a missing cell, or strings, with "" for one.
        """
        arrays = {}
        for name, kind in self.kinds.items():
            column = frame[name]
            if kind == "number":
                values = column.to_numpy(dtype=np.float64, na_value=np.nan).astype(np.float32)
            else:
                cells = column.astype(object).where(column.notna(), "").astype(str)
                # pandas keeps the blanks around a cell by default.
                values = cells.str.strip().to_numpy(dtype=object)
            arrays[name] = values.reshape(-1, 1)
        return arrays

    def __call__(self, columns: Mapping[str, Any]) -> Any:
        """Return the numbers for columns, which are arrays or symbolic tensors of shape (rows, 1)."""
        parts = []
        if self.normalization is not None:
            numbers = [name for name, kind in self.kinds.items() if kind == "number"]
            values = _joined([columns[name] for name in numbers])
            scaled = self.normalization(values)
            # The mean, once it is standardized.
            parts.append(keras.ops.where(keras.ops.isnan(values), keras.ops.zeros_like(scaled), scaled))
        if self.gappy:
            gaps = keras.ops.isnan(_joined([columns[name] for name in self.gappy]))
            parts.append(keras.ops.cast(gaps, "float32"))
        for name, lookup in self.lookups.items():
            codes = keras.ops.cast(lookup(columns[name]), "float32")
            parts.append(keras.ops.reshape(codes, (-1, codes.shape[-1])))
        return _joined(parts)

    def encode(self, frame: Any) -> np.ndarray:
        """Return the numbers for the rows of a data frame, float32 of shape (rows, features)."""
        return np.asarray(keras.ops.convert_to_numpy(self(self.columns_of(frame))), np.float32)

    def in_front_of(self, model: keras.Model) -> keras.Model:
        """Return a model that takes raw columns by name, encodes them, and calls a model on the result."""
        inputs = {
            name: keras.Input((1,), name=input_name(name), dtype="float32" if kind == "number" else "string")
            for name, kind in self.kinds.items()
        }
        outputs = model(self(inputs))
        whole = keras.Model({tensor.name: tensor for tensor in inputs.values()}, outputs, name="table_model")
        # XLA compiles no look-up of strings.
        whole.compile_from_config({**model.get_compile_config(), "jit_compile": "auto"})
        return whole

    def describe(self) -> str:
        """Return how many columns of each kind there are, such as "4 columns (3 numeric, 1 text)"."""
        counts = {word: sum(kind == k for k in self.kinds.values()) for kind, word in _KINDS.items()}
        listed = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        return f"{len(self.kinds)} column{'s' * (len(self.kinds) != 1)} ({listed})"


def _lookup(kind: str, values: np.ndarray) -> keras.layers.Layer:
    """Return a layer with the vocabulary of some values."""
    if kind == "text":
        layer = keras.layers.TextVectorization(max_tokens=MOST_WORDS, output_mode="multi_hot")
        layer.adapt(values[:, 0])
        return layer
    categories, counts = np.unique(values.astype(str), return_counts=True)
    kept = sorted(categories[np.argsort(-counts, kind="stable")][:MOST_CATEGORIES].tolist())
    return keras.layers.StringLookup(vocabulary=kept, output_mode="one_hot")


def _joined(parts: Sequence[Any]) -> Any:
    return parts[0] if len(parts) == 1 else keras.ops.concatenate(parts, axis=1)


def input_name(column: str) -> str:
    """Return the name of the input for a column, as `read_table` spells it: Keras allows no slash in a name.

    >>> input_name(" km/h ")
    'km_h'
    """
    return clean_name(column).replace("/", "_")


def model_rows(model: keras.Model, frame: Any) -> dict[str, Any]:
    """Return the rows of a pandas data frame as inputs of a model that a search on a table has saved.

    Args:
        model: The loaded `best_model.keras`.
        frame: A data frame with the columns of the table, and maybe others. Missing cells are NaN, None,
            blank or "?".

    Raises:
        InitxError: `frame` is not a data frame, a column is missing or holds other values than the model
            takes, or the backend cannot hold text.
    """
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        problem = f"`frame` must be a pandas data frame, got {type(frame).__name__}"
        remedy = "Pass pandas.DataFrame(rows), or pandas.DataFrame([row]) for one row."
        raise InitxError("frame", type(frame).__name__, "a pandas data frame", remedy, problem)
    # A column of exactly the name comes before one that is spelled otherwise.
    columns = {input_name(str(name)): name for name in frame.columns} | {n: n for n in frame.columns}
    lacking = [tensor.name for tensor in model.inputs if tensor.name not in columns]
    if lacking:
        problem = f"`frame` has no column {lacking[0]!r}, which `model` {model.name!r} takes"
        raise InitxError("frame", list(columns), f"a table with {', '.join(lacking)}", problem=problem)
    kinds = {t.name: "number" if "float" in str(t.dtype) else "category" for t in model.inputs}
    if "category" in kinds.values() and keras.backend.backend() != "tensorflow":
        problem = f"Text cannot be an input of a model on the backend {keras.backend.backend()}"
        remedy = "Load the model under KERAS_BACKEND=tensorflow."
        raise InitxError("model", model.name, "a model of numbers", remedy, problem)
    named = {name: _checked(frame[columns[name]], columns[name], kind) for name, kind in kinds.items()}
    arrays = ColumnEncoder(kinds, None, (), {}).columns_of(named)
    return {
        name: keras.ops.convert_to_tensor(values, "string" if values.dtype == object else "float32")
        for name, values in arrays.items()
    }


def _checked(column: Any, name: Any, kind: str) -> Any:
    """Return a column of raw rows as `read_table` reads it: some cells of text are missing, or are numbers.

    Raises:
        InitxError: A cell is text in a column of numbers, or neither number nor text.
    """
    import pandas as pd

    cells = column.astype(object)
    gaps = cells.isna() | cells.map(lambda cell: isinstance(cell, str) and cell.strip() in ("", *MISSING))
    cells = cells.mask(gaps.astype(bool), np.nan)
    present = cells.dropna()
    wrong = ~present.map(lambda cell: isinstance(cell, str | int | float | np.number)).astype(bool)
    allowed = "text or numbers"
    if kind == "number":
        wrong, allowed = wrong | pd.to_numeric(present, errors="coerce").isna(), "numbers"
    if wrong.any():
        cell = present[wrong].iloc[0]
        problem = f"`frame` must hold {allowed} in column {str(name)!r}, got {str(cell)!r}"
        raise InitxError("frame", cell, f"a table with {allowed} in {str(name)!r}", "Correct it.", problem)
    return pd.to_numeric(cells) if kind == "number" else cells
