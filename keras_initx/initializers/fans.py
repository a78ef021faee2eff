"""How many inputs each output of a weight sums (fan_in), and how many outputs each input feeds (fan_out).

Keras reads both from the shape (and from 3.15 the axes of an EinsumDense), which is wrong wherever the
layer does something that the shape does not show: depthwise and transposed convolutions, strides,
groups, fused gates, look-ups. Here each kind of weight has one small function of its own.

With white noise of variance 1 as input, a weight of variance 1/fan_in gives outputs of variance 1;
with white noise as the gradient of the output, a weight of variance 1/fan_out gives input gradients
of variance 1. Both are means over positions, padding left out, so they need not be integers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class Fans:
    """fan_in and fan_out of one weight; positive numbers, not always whole."""

    fan_in: float
    fan_out: float

    def by_mode(self, mode: str) -> float:
        """The fan that `mode` names: "fan_in", "fan_out", or their mean, "fan_avg".

        Example:

        >>> Fans(10, 30).by_mode("fan_avg")
        20.0
        """
        if mode == "fan_avg":
            return (self.fan_in + self.fan_out) / 2
        return self.fan_in if mode == "fan_in" else self.fan_out


def from_shape(shape: Sequence[int]) -> Fans:
    """Keras's own reading, for a weight of which only the shape is known.

    A matrix is (inputs, outputs); more axes are a convolution, (window..., inputs, outputs).
    """
    if not shape:
        return Fans(1, 1)
    if len(shape) == 1:
        return Fans(shape[0], shape[0])
    window = prod(shape[:-2])
    return Fans(window * shape[-2], window * shape[-1])


def convolution(shape: Sequence[int], groups: int = 1, strides: Sequence[int] = (1,)) -> Fans:
    """Kernel (window..., inputs / groups, outputs).

    An input reaches only its own group's outputs, and with a stride only one window position in
    prod(strides), which is why the gradient of a strided convolution is smaller than Keras's fan_out says.
    """
    window = prod(shape[:-2])
    return Fans(window * shape[-2], window * shape[-1] / groups / prod(strides))


def depthwise(shape: Sequence[int], strides: Sequence[int] = (1,)) -> Fans:
    """Kernel (window..., inputs, depth_multiplier): every output sees one channel's window."""
    window = prod(shape[:-2])
    return Fans(window, window * shape[-1] / prod(strides))


def transposed_convolution(shape: Sequence[int], strides: Sequence[int] = (1,)) -> Fans:
    """Kernel (window..., outputs, inputs): a convolution run backward, so its fans change places."""
    window = prod(shape[:-2])
    return Fans(window * shape[-1] / prod(strides), window * shape[-2])


def einsum(shape: Sequence[int], input_axes: Sequence[int], output_axes: Sequence[int]) -> Fans:
    """Kernel whose `input_axes` are summed over and whose `output_axes` are new in the output.

    Axes in neither are shared by input and output (one kernel for each head, or for each expert). An
    axis that only the data has and the output lacks is summed too, but its size is not in the kernel:
    such a sum is left out.
    """
    return Fans(prod(shape[axis] for axis in input_axes), prod(shape[axis] for axis in output_axes))


def fused_gates(shape: Sequence[int], gates: int, strides: Sequence[int] = (1,)) -> Fans:
    """Kernel (window..., inputs, gates x units) of a recurrent cell: each gate is a kernel of its own."""
    window = prod(shape[:-2])
    return Fans(window * shape[-2], window * shape[-1] / gates / prod(strides))


def lookup(shape: Sequence[int]) -> Fans:
    """Table (rows, features): a look-up adds nothing up, in either direction."""
    return Fans(1, 1)


def tied_lookup(shape: Sequence[int]) -> Fans:
    """Table (rows, features) that is also the output projection: its logits sum over the features."""
    return Fans(shape[-1], shape[-1])


@dataclass(frozen=True)
class Geometry:
    """The kind of a weight and what its kind's function needs beside the shape.

    Plain values only, so that it can be copied, pickled and sent to another process.
    """

    kind: str = "unknown"
    groups: int = 1
    strides: tuple[int, ...] = (1,)
    gates: int = 1
    causal: bool = False
    input_axes: tuple[int, ...] = ()
    output_axes: tuple[int, ...] = ()

    def fans(self, shape: Sequence[int]) -> Fans:
        """The fans of a weight of this kind and of the given shape.

        Example: a depthwise kernel of 3 x 3 over 64 channels, of which Keras says 576.

        >>> Geometry("depthwise").fans((3, 3, 64, 1)).fan_in
        9
        """
        return _BY_KIND[self.kind](self, shape)


_BY_KIND: dict[str, Callable[[Geometry, Sequence[int]], Fans]] = {
    "unknown": lambda g, shape: from_shape(shape),
    "dense": lambda g, shape: from_shape(shape),
    "convolution": lambda g, shape: convolution(shape, g.groups, g.strides),
    "depthwise": lambda g, shape: depthwise(shape, g.strides),
    "transposed_convolution": lambda g, shape: transposed_convolution(shape, g.strides),
    "einsum": lambda g, shape: einsum(shape, g.input_axes, g.output_axes),
    "fused_gates": lambda g, shape: fused_gates(shape, g.gates, g.strides),
    "lookup": lambda g, shape: lookup(shape),
    "tied_lookup": lambda g, shape: tied_lookup(shape),
    "forget_bias": lambda g, shape: from_shape(shape),
}


def einsum_axes(equation: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The kernel's (input_axes, output_axes) in an equation such as "abc,cd->abd".

    Input axes are those that the output lacks (they are summed over), output axes those that the
    input lacks. Whitespace and "..." are as in numpy.einsum.

    Example: the query projection of attention, (batch, time, features) to heads.

    >>> einsum_axes("abc,cde->abde")
    ((0,), (1, 2))
    """
    operands, output = equation.replace(" ", "").replace("...", "").split("->")
    data, kernel = operands.split(",")
    summed = tuple(i for i, letter in enumerate(kernel) if letter not in output)
    new = tuple(i for i, letter in enumerate(kernel) if letter in output and letter not in data)
    return summed, new
