"""The one error that bad input raises, the search for the nearest allowed name, and what a number is."""

from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Integral

import numpy as np


class InitxError(ValueError):
    """Bad input: one line that names the argument, the value, the rule and the way out.

    Args:
        argument: What the caller passed it as: an argument, an option or a layer path.
        received: The value that cannot be used.
        allowed: What is allowed, in words.
        remedy: What to do instead; empty where `allowed` says it already.

    The four parts stay readable as attributes, so that a caller can build its own message.

    Example:

    >>> str(InitxError("mode", "fan", "fan_in, fan_out or fan_avg"))
    "mode: received 'fan'; allowed: fan_in, fan_out or fan_avg."
    """

    def __init__(self, argument: str, received: object, allowed: str, remedy: str = "") -> None:
        self.argument = argument
        self.received = received
        self.allowed = allowed
        self.remedy = remedy
        message = f"{argument}: received {received!r}; allowed: {allowed}."
        super().__init__(f"{message} {remedy}" if remedy else message)

    def __reduce__(self) -> tuple[object, ...]:
        # The default pickles the joined message as the only argument, and fails on loading.
        return type(self), (self.argument, self.received, self.allowed, self.remedy)


def unknown_name(argument: str, name: object, known: Iterable[str], remedy: str = "") -> InitxError:
    """The error for a name that is not among `known`, with the nearest one suggested.

    Example:

    >>> str(unknown_name("initializer", "he_atuo", ["auto", "he_auto"]))
    "initializer: received 'he_atuo'; allowed: auto, he_auto. Did you mean 'he_auto'?"
    """
    names = sorted(known)
    near = get_close_matches(str(name), names, n=1) or get_close_matches(str(name).lower(), names, n=1)
    suggestion = f"Did you mean {near[0]!r}?" if near else ""
    return InitxError(argument, name, ", ".join(names), f"{suggestion} {remedy}".strip())


def is_number(value: object) -> bool:
    """Whether `value` is an int or float of Python or NumPy, and no bool."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def checked_seed(seed: object) -> int | None:
    """A seed as an int, or None; an `InitxError` for anything else."""
    if seed is None:
        return None
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool):
        raise InitxError("seed", seed, "None or an integer")
    return int(seed)


def check_positive(argument: str, value: object) -> int:
    """`value` if it is a whole number above zero.

    Raises:
        InitxError: Anything else.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise InitxError(argument, value, "a whole number above 0")
    return int(value)
