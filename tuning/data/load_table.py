"""`load_table`: a data set from a file whose columns hold numbers, text and missing cells."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_initx.errors import InitxError, unknown_name

from . import files
from .columns import MOST_CATEGORIES, MOST_WORDS, ColumnEncoder, kinds_of
from .dataset import Dataset, class_indices, naming_source, split_rows
from .tables import Table, clean_name, read_table, without_index


def load_table(
    path: files.Path,
    target: str,
    task: str = "auto",
    *,
    drop: Sequence[str] = (),
    index: str | None = None,
    encoding: str | None = None,
    seed: int = 0,
) -> Dataset:
    """Load a table: a text file with a header row, or Parquet. Its columns may hold text and missing cells.

    Numbers are standardized, and a missing one becomes the mean of its column, with a further feature that
    says so. Text becomes one-hot categories; text that seldom repeats becomes a bag of words. All of it is
    learned from the training rows, and saved inside the best model, which takes raw columns by name.

    Args:
        path: The file. Its separator may be a comma, semicolon, tab or vertical bar, its encoding UTF-8,
            UTF-16 or Windows-1252.
        target: The column to predict.
        task: As in `load_npz`.
        drop: Columns to leave out.
        index: The column that numbers the rows. None leaves out a first column that has no name or counts the
            rows, with a note; "none" leaves out nothing.
        encoding: The encoding of the text, if it is another one.
        seed: The seed of the split.

    Raises:
        InitxError: The file, a column or a cell cannot be used.
    """
    target = clean_name(target)
    table = read_table(path, encoding)
    for argument, names in (("target", [target]), ("drop", drop)):
        for name in names:
            if name not in table.frame:
                raise unknown_name(argument, name, filter(None, map(str, table.frame.columns)))
    if target in drop:
        raise InitxError("drop", target, "columns other than the target")
    if index == target:
        raise InitxError("index", target, "a column other than the target")
    table = without_index(table, index, {target, *drop})
    labels = _labels_of(table, target)
    left_out = [name for name in (*drop, target) if name in table.frame]
    table = replace(table, frame=table.frame.drop(columns=left_out))
    if not len(table.frame.columns):
        problem = f"has no columns except the target {target!r}"
        raise files.bad_file(path, problem, "Add the columns to predict from.")
    kinds = kinds_of(table)
    if not kinds:
        raise files.bad_file(path, "has only empty columns besides the target", "Fill them in.")
    empty = [str(name) for name in table.frame.columns if name not in kinds]
    notes = [*table.notes, *(f"Column {name!r} is empty and left out." for name in empty)]
    with naming_source({"y": ("target", f"`target` {target!r}"), "task": ("task", "`task`")}):
        indices, classes = class_indices(labels, task)
    if not classes and task == "auto":
        note = f"Column {target!r} has {len(np.unique(indices))} different numbers, so this is a regression"
        other = "; `task=classification` takes each for a class" if _can_be_classes(labels) else ""
        notes.append(f"{note}{other}.")
    notes += _notes_on(table, kinds)
    train, selection, test = split_rows(indices, classes, seed)
    rows = [table.frame.iloc[part] for part in (train, selection, test)]
    encoder = ColumnEncoder.adapted(kinds, rows[0])
    x_train, x_selection, x_test = (encoder.encode(part) for part in rows)
    return Dataset(
        Path(path).stem,
        x_train,
        indices[train],
        x_selection,
        indices[selection],
        x_test,
        indices[test],
        classes,
        encoder,
        tuple(notes),
    )


def _can_be_classes(labels: npt.NDArray[Any]) -> bool:
    try:
        class_indices(labels, "classification")
    except InitxError:
        return False
    return True


def _notes_on(table: Table, kinds: Mapping[str, str]) -> list[str]:
    """Return a sentence about each text column that is used only in part, and about the backend."""
    notes = []
    for name, kind in kinds.items():
        if kind == "text":
            notes.append(f"Column {name!r} is free text: its {MOST_WORDS} most frequent words count.")
        elif kind == "category" and (count := table.frame[name].nunique()) > MOST_CATEGORIES:
            notes.append(
                f"Column {name!r} has {count} categories: the {MOST_CATEGORIES} most frequent ones count, "
                "the others are taken for one."
            )
    backend = keras.backend.backend()
    if backend != "tensorflow" and set(kinds.values()) - {"number"}:
        notes.append(
            f"The saved model takes text only under KERAS_BACKEND=tensorflow, although {backend} trains it."
        )
    return notes


def _labels_of(table: Table, target: str) -> npt.NDArray[Any]:
    """Return the target column as one plain array.

    Raises:
        InitxError: A cell is empty, or the column holds something else than numbers or text.
    """
    column = table.frame[target]
    missing = column.isna().to_numpy()
    if not missing.any() and column.dtype.kind not in "biuf":
        missing = (column.astype(str).str.strip() == "").to_numpy()
    if missing.any():
        count, place = int(missing.sum()), table.places[int(np.argmax(missing))]
        more = f", and in {count - 1} others" if count > 1 else ""
        problem = f"`target` {target!r} has an empty cell in {place}{more}"
        remedy = "Drop the rows without a label."
        raise InitxError("target", target, "a column with a label in every row", remedy, problem)
    if column.dtype.kind in "iuf":
        return column.to_numpy()
    return column.astype(str).str.strip().to_numpy(dtype=str)
