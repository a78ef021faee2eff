"""Compute fan_in, the number of inputs that an output sums, and fan_out, the outputs that an input feeds.

Keras reads both from the shape (and from 3.15 the axes of an EinsumDense). That is wrong if the layer does
something that the shape does not show: depthwise and transposed convolutions, strides, groups, fused
gates, look-ups. This module has one small function for each kind of weight.

With white noise of variance 1 as input, a weight of variance 1/fan_in gives outputs of variance 1. With
white noise as the gradient of the output, a weight of variance 1/fan_out gives input gradients of variance
1. Both are means over positions without padding, so they need not be integers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class Fans:
    """The fans of one weight: positive numbers, not always integers."""

    fan_in: float
    fan_out: float

    def by_mode(self, mode: str) -> float:
        """Return the fan that `mode` names: "fan_in", "fan_out" or "fan_avg", their mean.

        Example:

        >>> Fans(10, 30).by_mode("fan_avg")
        20.0
        """
        if mode == "fan_avg":
            return (self.fan_in + self.fan_out) / 2
        return self.fan_in if mode == "fan_in" else self.fan_out


def from_shape(shape: Sequence[int]) -> Fans:
    """Return the fans that Keras computes, for a weight of which only the shape is known.

    Two axes are (inputs, outputs); more axes are a convolution, (window..., inputs, outputs).
    """
    if not shape:
        return Fans(1, 1)
    if len(shape) == 1:
        return Fans(shape[0], shape[0])
    window = prod(shape[:-2])
    return Fans(window * shape[-2], window * shape[-1])


def convolution(shape: Sequence[int], groups: int = 1, strides: Sequence[int] = (1,)) -> Fans:
    """Return the fans of a kernel (window..., inputs / groups, outputs).

    An input reaches only the outputs of its own group, and with a stride only one window position in
    prod(strides). The gradient of a strided convolution is therefore smaller than Keras's fan_out implies.
    """
    window = prod(shape[:-2])
    return Fans(window * shape[-2], window * shape[-1] / groups / prod(strides))


def depthwise(shape: Sequence[int], strides: Sequence[int] = (1,)) -> Fans:
    """Return the fans of a kernel (window..., inputs, depth_multiplier): an output sees one channel."""
    window = prod(shape[:-2])
    return Fans(window, window * shape[-1] / prod(strides))


def transposed_convolution(shape: Sequence[int], strides: Sequence[int] = (1,)) -> Fans:
    """Return the fans of a kernel (window..., outputs, inputs): a convolution's, swapped."""
    window = prod(shape[:-2])
    return Fans(window * shape[-1] / prod(strides), window * shape[-2])


def einsum(shape: Sequence[int], input_axes: Sequence[int], output_axes: Sequence[int]) -> Fans:
    """Return the fans of a kernel whose `input_axes` are summed over and whose `output_axes` are new.

    Axes in neither are shared by input and output (one kernel for each head or for each expert). A data
    axis that neither the kernel nor the output has is summed too, but the kernel does not contain its
    size, so such a sum is left out.
    """
    return Fans(prod(shape[axis] for axis in input_axes), prod(shape[axis] for axis in output_axes))


def fused_gates(shape: Sequence[int], gates: int, strides: Sequence[int] = (1,)) -> Fans:
    """Return the fans of a recurrent kernel (window..., inputs, gates x units): one kernel per gate."""
    window = prod(shape[:-2])
    return Fans(window * shape[-2], window * shape[-1] / gates / prod(strides))


def lookup(shape: Sequence[int]) -> Fans:
    """Return the fans of a look-up table (rows, features): a look-up sums nothing in either direction."""
    return Fans(1, 1)


def tied_lookup(shape: Sequence[int]) -> Fans:
    """Return the fans of a look-up table (rows, features) that projects to logits too, which sum features."""
    return Fans(shape[-1], shape[-1])


@dataclass(frozen=True)
class Geometry:
    """The kind of a weight, with the values that determine its fans in addition to the shape.

    All fields are plain values, so a geometry can be copied, pickled and sent to another process.
    """

    kind: str = "unknown"
    groups: int = 1
    strides: tuple[int, ...] = (1,)
    gates: int = 1
    causal: bool = False
    input_axes: tuple[int, ...] = ()
    output_axes: tuple[int, ...] = ()

    def fans(self, shape: Sequence[int]) -> Fans:
        """Return the fans of a weight of this kind and of the given shape.

        Example: a depthwise kernel of 3 x 3 over 64 channels, for which Keras computes 576.

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
    """Return the kernel's (input_axes, output_axes) in an equation such as "abc,cd->abd".

    The output lacks the input axes (they are summed over), and the input lacks the output axes.
    Whitespace and "..." have the same meaning as in numpy.einsum.

    Example: the query projection of attention, (batch, time, features) to heads.

    >>> einsum_axes("abc,cde->abde")
    ((0,), (1, 2))
    """
    operands, output = equation.replace(" ", "").replace("...", "").split("->")
    data, kernel = operands.split(",")
    summed = tuple(i for i, letter in enumerate(kernel) if letter not in output)
    new = tuple(i for i, letter in enumerate(kernel) if letter in output and letter not in data)
    return summed, new
