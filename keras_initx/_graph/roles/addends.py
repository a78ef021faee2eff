"""Find weighted results that are added up, and how many share each sum."""

from collections.abc import Collection

from keras_initx._graph.records import Graph, Step

# Steps that keep the values of their signal, or only drop some of them in training.
_MOVING = frozenset(
    {
        "BroadcastTo",
        "Cast",
        "Dropout",
        "ExpandDims",
        "Flatten",
        "Identity",
        "Moveaxis",
        "Permute",
        "Reshape",
        "Squeeze",
        "Swapaxes",
        "Transpose",
    }
)


def addends(graph: Graph, residual_sums: Collection[int]) -> dict[int, int]:
    """Map each weighted step whose result is only added to other such results to the number of addends.

    A sum of the results of k kernels equals the result of one kernel with k times the inputs. Examples are
    the output layers of several blocks, the skip connections of WaveNet, and W x + U h in a gate. Residual
    sums do not count, nor sums with any other operand, such as a stream, a look-up or attention scores.
    """
    counts: dict[int, int] = {}
    for step in graph.steps:
        if _is_sum(step) and step.number not in residual_sums:
            results = _results(graph, step, residual_sums)
            # An outer sum comes later, and counts the results of the sums inside it too.
            counts.update((number, len(results)) for number in results)
    return counts


def _is_sum(step: Step) -> bool:
    return step.kind in ("Add", "Subtract") and len(set(step.inputs)) > 1


def _results(graph: Graph, total: Step, residual_sums: Collection[int]) -> list[int]:
    """Return the weighted steps whose results a sum adds up; none if it adds anything else."""
    tensors, numbers = list(total.inputs), []
    while tensors:
        tensor = tensors.pop()
        producer = graph.producer(tensor)
        if producer is None or len(graph.consumers(tensor)) != 1 or producer.number in residual_sums:
            return []
        if producer.is_weighted:
            is_linear = producer.applied_activation is None and not (
                producer.is_recurrent or producer.is_lookup
            )
            if not is_linear or producer.number in numbers:
                return []
            numbers.append(producer.number)
        elif _is_sum(producer) or producer.kind in _MOVING or _adds_a_constant(producer):
            tensors += producer.inputs
        else:
            return []
    return numbers


def _adds_a_constant(step: Step) -> bool:
    return step.kind in ("Add", "Subtract") and len(step.inputs) == 1
