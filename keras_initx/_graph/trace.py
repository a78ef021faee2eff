"""What a model computes, step by step: one symbolic call of it, observed.

The model is called once on symbolic tensors while `keras.Layer.__call__` and
`keras.Operation.symbolic_call` are watched. Composite layers are followed into their `call`, so that
nested models, subclassed ones and Keras operations (`x + y`, `keras.ops.relu(x)`) are seen alike. Nothing
is computed, no weight is touched, and the model gains no node: what comes out are frozen records.
"""

from typing import Any

import keras

from keras_initx._graph.classify import classified
from keras_initx._graph.observer import Observer, observed
from keras_initx._graph.records import Graph, Step
from keras_initx.errors import InitxError

# What a model of unknown sizes is traced on: images, then everything else; the first that works.
_IMAGE_SIZES = (64, 128, 224, 331)
_LENGTHS = (16, 32, 64, 128)


def trace(model: keras.Model, inputs: Any = None, batch: int = 2) -> Graph:
    """The graph of a built model.

    Args:
        model: Functional, Sequential or subclassed; built.
        inputs: What the model is called on, as arrays or `keras.KerasTensor`s: only shapes and dtypes
            count. None takes what the model was built on.
        batch: The size of the batch where it is not known; at least 2, since 1 would broadcast.

    Raises:
        InitxError: A model that is not built; one that does not tell its inputs where `inputs` is None;
            inputs on which it cannot be called.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="relu")])
    >>> [step.kind for step in trace(model).steps if step.is_layer]
    ['Dense']
    """
    if not isinstance(model, keras.Model):
        raise InitxError("model", model, "a keras.Model")
    if not model.built:
        raise InitxError("model", model.name, "a built model", "Call it on a batch of data.")
    given: Any = _own_inputs(model) if inputs is None else inputs
    if inputs is not None:
        _check_shapes(model, inputs)
    sizes = list(zip(_IMAGE_SIZES, _LENGTHS, strict=True)) if _has_unknown_size(given) else [(0, 0)]
    for number, (image, length) in enumerate(sizes):
        symbolic = keras.tree.map_structure(lambda x, i=image, n=length: _symbolic(x, batch, i, n), given)
        try:
            return _traced(model, symbolic)
        except InitxError:
            if number == len(sizes) - 1:
                raise
    raise AssertionError("unreachable: the loop returns or raises")


def _traced(model: keras.Model, symbolic: Any) -> Graph:
    observer = Observer(model)
    with observed(observer):
        try:
            outputs = model(symbolic)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            allowed = f"inputs that the model can be called on (it raised {reason})"
            shapes = keras.tree.map_structure(lambda x: tuple(x.shape), symbolic)
            raise InitxError("data", shapes, allowed, "Pass data= as the model takes it.") from error
    records = observer.finished(outputs)
    steps = tuple(classified(Step(number=number, **record)) for number, record in enumerate(records))
    ends = observer.numbers(symbolic), observer.numbers(outputs)
    return Graph(steps, *ends, observer.opened, symbolic, outputs, observer.masks(outputs))


def _declared_inputs(model: keras.Model) -> Any:
    """The inputs of a functional or sequential model, in its structure; None for a subclassed one."""
    try:
        return model.input
    except (AttributeError, ValueError):
        # A Sequential model has no node of its own.
        inputs = getattr(model, "inputs", None)
        return inputs[0] if inputs and len(inputs) == 1 else inputs


def fixed_batch(model: keras.Model) -> int | None:
    """The only size of a batch that a model takes, as one with stateful cells does; None for any."""
    declared = [t for t in keras.tree.flatten(_declared_inputs(model)) if t is not None and t.shape]
    return next((size for size, *_ in (t.shape for t in declared) if size is not None), None)


def _own_inputs(model: keras.Model) -> Any:
    declared = _declared_inputs(model)
    if declared is not None:
        return declared
    shape: Any = (model.get_build_config() or {}).get("input_shape")
    if _is_shape(shape):
        return keras.KerasTensor(tuple(shape), dtype=model.input_dtype)
    remedy = "Pass data=: a batch as the model takes it."
    raise InitxError("model", model.name, "a model that tells the shapes of its inputs", remedy)


def _check_shapes(model: keras.Model, inputs: Any) -> None:
    """Raises an `InitxError` for inputs of other shapes than the model was built on, where it tells them."""
    declared = _declared_inputs(model)
    if declared is None:
        return
    own = keras.tree.flatten(declared)
    given = keras.tree.flatten(inputs)
    shapes = [tuple(t.shape) for t in given], [tuple(t.shape) for t in own]
    fits = len(given) == len(own) and all(
        len(mine) == len(theirs)
        and all(b is None or a == b for a, b in zip(mine[1:], theirs[1:], strict=True))
        for mine, theirs in zip(*shapes, strict=True)
    )
    if not fits:
        remedy = ""
        if any(len(mine) + 1 == len(theirs) for mine, theirs in zip(*shapes, strict=False)):
            remedy = "The first axis is that of the samples: x[None] is a batch of one; or dataset.batch(32)."
        raise InitxError("data", _listed(shapes[0]), f"inputs of shape {_listed(shapes[1])}", remedy)
    for mine, theirs in zip(given, own, strict=True):
        kinds = [keras.backend.standardize_dtype(t.dtype) for t in (mine, theirs)]
        if kinds.count("string") == 1:
            raise InitxError("data", f"values of type {kinds[0]}", f"values of type {kinds[1]}")


def _listed(shapes: list[tuple[int | None, ...]]) -> Any:
    return shapes[0] if len(shapes) == 1 else shapes


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, list | tuple) and all(n is None or isinstance(n, int) for n in shape)


def _has_unknown_size(tensors: Any) -> bool:
    return any(None in tuple(t.shape)[1:] for t in keras.tree.flatten(tensors))


def _symbolic(tensor: Any, batch: int, image: int, length: int) -> keras.KerasTensor:
    shape = list(tensor.shape)
    # A static batch, which reshapes inside of models rely on.
    if shape and shape[0] is None:
        shape[0] = batch
    # Three axes and channels, or four, are an image or a film.
    size = image if len(shape) >= 4 else length
    sizes = [size if n is None else n for n in shape]
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    # Its name is what an error calls an input.
    name = tensor.name if isinstance(tensor, keras.KerasTensor) else None
    return keras.KerasTensor(tuple(sizes), dtype=dtype, name=name)
