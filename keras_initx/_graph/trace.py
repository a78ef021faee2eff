"""Trace a model: record the steps of one symbolic call as a `Graph`.

The model is called once on symbolic tensors while `keras.Layer.__call__` and `keras.Operation.symbolic_call`
are intercepted. The trace enters the `call` of composite layers, so it sees nested models, subclassed models
and Keras operations (`x + y`, `keras.ops.relu(x)`) alike. It computes nothing, changes no weight and adds no
node to the model; its result is a set of frozen records.
"""

from typing import Any

import keras

from keras_initx._graph.call_recorder import CallRecorder, observed
from keras_initx._graph.classify import classified
from keras_initx._graph.inputs import fitting_graph
from keras_initx._graph.normalizations import with_normalizations
from keras_initx._graph.records import Graph, Step
from keras_initx.errors import InitxError, check_built, error_line


def trace(model: keras.Model, inputs: Any = None, batch: int = 2) -> Graph:
    """Return the graph of a built model.

    Args:
        model: A built Functional, Sequential or subclassed model.
        inputs: Arrays or `keras.KerasTensor`s to call the model on; only their shapes and dtypes matter.
            None uses the inputs that the model was built on.
        batch: The batch size if the model leaves it open. At least 2, because a size of 1 would broadcast.

    Raises:
        InitxError: The model is not built; it does not record the shapes of its inputs and `inputs` is None;
            or it cannot be called on the inputs.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="relu")])
    >>> [step.kind for step in trace(model).steps if step.is_layer]
    ['Dense']
    """
    if not isinstance(model, keras.Model):
        raise InitxError("model", model, "a keras.Model")
    check_built(model)
    if inputs is None:
        inputs = _recorded_inputs(model)
    else:
        _check_inputs(model, inputs)

    def traced_at(image: int, length: int) -> Graph:
        symbolic = keras.tree.map_structure(lambda x: _symbolic(x, batch, image, length), inputs)
        return _traced(model, symbolic)

    return fitting_graph(model, traced_at) if _has_unknown_size(inputs) else traced_at(0, 0)


def _traced(model: keras.Model, symbolic: Any) -> Graph:
    recorder = CallRecorder(model)
    with observed(recorder):
        try:
            outputs = model(symbolic)
        except Exception as error:
            reason = error_line(error)
            shapes = keras.tree.map_structure(lambda x: tuple(x.shape), symbolic)
            raise InitxError(
                "data",
                shapes,
                f"inputs that the model can be called on (it raised {reason})",
                "Pass data= in the form that the model takes.",
                f"The model cannot be called on `data` of shape {shapes}: {reason}",
            ) from error
    records = recorder.finished(outputs)
    steps = tuple(classified(Step(number=number, **record)) for number, record in enumerate(records))
    graph = Graph(
        steps=steps,
        inputs=recorder.numbers(symbolic),
        outputs=recorder.numbers(outputs),
        opened=recorder.opened,
        symbolic=symbolic,
        results=outputs,
        masks=recorder.masks(outputs),
    )
    return with_normalizations(graph)


def _declared_inputs(model: keras.Model) -> Any:
    """Return the inputs of a Functional or Sequential model, in its structure; None for a subclassed one."""
    try:
        return model.input
    except (AttributeError, ValueError):
        # A Sequential model has no node of its own, and so no `input`.
        inputs = getattr(model, "inputs", None)
        return inputs[0] if inputs and len(inputs) == 1 else inputs


def fixed_batch(model: keras.Model) -> int | None:
    """Return the batch size that a model is fixed to, as with stateful cells; None if it takes any size."""
    declared = [t for t in keras.tree.flatten(_declared_inputs(model)) if t is not None and t.shape]
    return next((size for size, *_ in (t.shape for t in declared) if size is not None), None)


def _recorded_inputs(model: keras.Model) -> Any:
    """Return the inputs that the model was built on."""
    declared = _declared_inputs(model)
    if declared is not None:
        return declared
    shape: Any = (model.get_build_config() or {}).get("input_shape")
    if _is_shape(shape):
        return keras.KerasTensor(tuple(shape), dtype=model.input_dtype)
    raise InitxError(
        "model",
        model.name,
        "a model that records the shapes of its inputs",
        "Pass data=: one batch in the form that the model takes.",
        f"`model` {model.name!r} does not record the shapes of its inputs",
    )


def _check_inputs(model: keras.Model, inputs: Any) -> None:
    """Raise an `InitxError` if shapes or dtypes differ from the model's declared inputs."""
    declared = _declared_inputs(model)
    if declared is None:
        return
    declared, tensors = keras.tree.flatten(declared), keras.tree.flatten(inputs)
    shapes = [tuple(tensor.shape) for tensor in tensors]
    allowed = [tuple(tensor.shape) for tensor in declared]
    fits = len(shapes) == len(allowed) and all(
        len(shape) == len(wanted)
        and all(n is None or m == n for m, n in zip(shape[1:], wanted[1:], strict=True))
        for shape, wanted in zip(shapes, allowed, strict=True)
    )
    if not fits:
        remedy = ""
        if any(len(shape) + 1 == len(wanted) for shape, wanted in zip(shapes, allowed, strict=False)):
            remedy = "The first axis counts samples: pass x[None] for a single sample, or dataset.batch(32)."
        received, wanted = _listed(shapes), _listed(allowed)
        problem = f"`data` must have shape {wanted}, got {received}"
        raise InitxError("data", received, f"inputs of shape {wanted}", remedy, problem)
    for tensor, one in zip(tensors, declared, strict=True):
        received, wanted = (keras.backend.standardize_dtype(t.dtype) for t in (tensor, one))
        if (received, wanted).count("string") == 1:
            problem = f"`data` must have dtype {wanted}, got {received}"
            raise InitxError("data", received, f"values of dtype {wanted}", problem=problem)


def _listed(shapes: list[tuple[int | None, ...]]) -> Any:
    """Return a single shape without its list."""
    return shapes[0] if len(shapes) == 1 else shapes


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, list | tuple) and all(n is None or isinstance(n, int) for n in shape)


def _has_unknown_size(tensors: Any) -> bool:
    return any(None in tuple(t.shape)[1:] for t in keras.tree.flatten(tensors))


def _symbolic(tensor: Any, batch: int, image: int, length: int) -> keras.KerasTensor:
    """Return a tensor without values that has no unknown size."""
    shape = list(tensor.shape)
    # The batch size must be static, because models may use it in a reshape.
    if shape and shape[0] is None:
        shape[0] = batch
    # Four axes are a batch of images, five a batch of videos or volumes.
    size = image if len(shape) >= 4 else length
    sizes = [size if n is None else n for n in shape]
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    # Errors refer to an input by this name.
    name = tensor.name if isinstance(tensor, keras.KerasTensor) else None
    return keras.KerasTensor(tuple(sizes), dtype=dtype, name=name)
