"""A few batches of training data from any source that `model.fit` accepts."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_initx.errors import InitxError

_PARTS = ("x", "y", "sample_weight")


# A generated `==` would raise, because an array has no single truth value.
@dataclass(frozen=True, eq=False)
class Batch:
    """One batch, to train a model on for one step.

    Attributes:
        parts: Inputs, labels and sample weights; as many of them as the batch has.
        source: The same batch as arguments of `fit`.
    """

    parts: tuple[Any, ...]
    source: Mapping[str, Any]

    @property
    def x(self) -> Any:
        """The inputs."""
        return self.parts[0]

    @property
    def y(self) -> Any:
        """The labels, or None."""
        return self.parts[1] if len(self.parts) > 1 else None

    @property
    def sample_weight(self) -> Any:
        """The sample weights, or None."""
        return self.parts[2] if len(self.parts) > 2 else None

    @classmethod
    def of_arrays(cls, x: Any, y: Any = None) -> "Batch":
        """Return a batch of arrays."""
        return _cut({"x": x, "y": y}, slice(None), {}, row_count(x))

    def train(self, model: keras.Model, by_fit: bool = False) -> dict[str, float]:
        """Take one training step and return its loss and metrics by name.

        Args:
            model: The model.
            by_fit: Whether to compile what a later `fit` runs; otherwise the step is one of its own.
        """
        if by_fit or has_own_step(model):
            # Keras packs a batch for `fit` in another way than for `train_on_batch` if parts are missing.
            history = model.fit(**self.source, epochs=1, shuffle=False, verbose=0).history
            return {name: float(values[-1]) for name, values in history.items()}
        weights = {"sample_weight": self.sample_weight, "class_weight": self.source.get("class_weight")}
        logs = model.train_on_batch(self.x, self.y, **weights, return_dict=True)
        return {name: float(np.mean(value)) for name, value in logs.items()}

    def test(self, model: keras.Model, by_fit: bool = False) -> dict[str, float]:
        """Evaluate the model on the batch; return its loss and metrics by name."""
        if by_fit or has_own_step(model):
            arguments = {name: value for name, value in self.source.items() if name != "class_weight"}
            logs = model.evaluate(**arguments, verbose=0, return_dict=True)
        else:
            logs = model.test_on_batch(self.x, self.y, sample_weight=self.sample_weight, return_dict=True)
        return {name: float(np.mean(value)) for name, value in logs.items()}

    def first_rows(self, count: int) -> "Batch":
        """Return a batch of the first rows if the batch was cut from arrays, else the whole batch."""
        if "batch_size" not in self.source:
            return self
        return _cut(dict(zip(_PARTS, self.parts, strict=False)), slice(count), self.source, count)


def has_own_step(model: keras.Model) -> bool:
    """Return whether a model overrides the training or evaluation step."""
    kind = type(model)
    return kind.train_step is not keras.Model.train_step or kind.test_step is not keras.Model.test_step


class _Items(keras.utils.PyDataset):
    """Batches that are already in memory."""

    def __init__(self, items: Sequence[Any]) -> None:
        super().__init__()
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Any:
        return self._items[index]


def made(x: Any) -> Any:
    """Return what a function makes that stands for the data; the data themselves as they are."""
    is_function = callable(x) and not hasattr(x, "__array__") and not hasattr(x, "__iter__")
    return x() if is_function else x


def is_arrays(x: Any) -> bool:
    """Return whether `x` holds arrays, alone or in lists and dictionaries, rather than yields batches."""
    if isinstance(x, keras.utils.PyDataset) or hasattr(x, "element_spec") or callable(x):
        return hasattr(x, "__array__")
    leaves = keras.tree.flatten(x)
    return bool(leaves) and all(hasattr(leaf, "shape") for leaf in leaves)


def row_count(x: Any) -> int:
    """Return the number of rows of arrays."""
    return int(keras.tree.flatten(x)[0].shape[0])


def first_batches(values: Mapping[str, Any], batch_size: int, count: int) -> list[Batch]:
    """Return up to `count` training batches.

    The rows of arrays come from all over them, because they may be sorted by class. Of everything else,
    the first batches are read.

    Args:
        values: The arguments of `fit` by name.
        batch_size: The number of rows of a batch, if the data are arrays.
        count: The number of batches.
    """
    x, weights = made(values.get("x")), values.get("class_weight")
    if x is None:
        raise InitxError("x", None, "training data: arrays, or an object that yields batches")
    more = {} if weights is None else {"class_weight": weights}
    if is_arrays(x):
        return _of_arrays(values, batch_size, count, more)
    if hasattr(x, "element_spec") and hasattr(x, "take"):
        # A cache that was read to its end repeats nothing of the pipeline.
        kept = x.take(count).cache()
        items = list(kept)
        sources = [kept.skip(i).take(1) for i in range(len(items))]
    else:
        items = list(itertools.islice(_iterable(x), count))
        sources = [_Items([keras.tree.map_structure(_plain, item)]) for item in items]
    batches = []
    for item, source in zip(items, sources, strict=True):
        # PyTorch's DataLoader yields lists.
        item = tuple(item) if isinstance(item, list) else item
        parts = keras.utils.unpack_x_y_sample_weight(item if isinstance(item, tuple) else (item,))
        batches.append(Batch(keras.tree.map_structure(_plain, tuple(parts)), {"x": source, **more}))
    if not batches:
        raise InitxError("x", "no batches", "data with at least one batch")
    return batches


def _of_arrays(
    values: Mapping[str, Any], batch_size: int, count: int, more: Mapping[str, Any]
) -> list[Batch]:
    parts = {name: values.get(name) for name in _PARTS}
    total = row_count(parts["x"])
    if not total:
        raise InitxError("x", "no rows", "data with at least one row")
    size = min(batch_size, total)
    chosen = np.linspace(0, total - 1, num=count * size).astype(int)
    return [_cut(parts, chosen[start::count], more, size) for start in range(count)]


def _cut(parts: Mapping[str, Any], rows: Any, source: Mapping[str, Any], size: int) -> Batch:
    """Return a batch of the given rows of arrays."""

    def some_rows(values: Any) -> Any:
        if values is None:
            return None
        if keras.ops.is_tensor(values) and "string" in str(values.dtype):
            # NumPy would make an array of objects, which Keras cannot read.
            return values[rows] if isinstance(rows, slice) else keras.ops.take(values, rows, axis=0)
        sparse = hasattr(values, "tocsr")
        array = values.tocsr()[rows].toarray() if sparse else np.asarray(values)[rows]
        # The type to which `fit` casts.
        return array.astype(keras.backend.floatx()) if array.dtype.kind == "f" else array

    cut = {name: keras.tree.map_structure(some_rows, part) for name, part in parts.items()}
    given = {name: part for name, part in cut.items() if part is not None}
    return Batch(tuple(cut.values()), {**source, **given, "batch_size": size})


def _iterable(x: Any) -> Iterable[Any]:
    if isinstance(x, keras.utils.PyDataset):
        # Not every subclass can be iterated: Keras reads it by index.
        length = x.num_batches
        return (x[i] for i in (itertools.count() if length is None else range(length)))
    return x


def _plain(value: Any) -> Any:
    """Return a tensor of any library as an array; anything else as it is."""
    if hasattr(value, "detach"):
        return value.detach().cpu().numpy()
    return value
