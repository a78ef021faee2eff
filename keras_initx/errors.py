"""`InitxError`, the error that bad input raises, and the checks that several modules share."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Integral

import keras
import numpy as np

# Control characters, line separators, marks that reverse the direction of text, and halves of characters. A
# terminal obeys them, cannot show them, or shows a text other than the one that was written.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_TENSORFLOW = re.compile(r"\{\{function_node [^}]*\}\} ?| \[Op:\w+\].*")


class InitxError(ValueError):
    """Report bad input in one sentence that names the argument, the value and the way out.

    Args:
        argument: The name of the argument, as the caller wrote it, or the path of a layer or weight.
        received: The value that cannot be used.
        allowed: The values that can be used, worded to follow "must be".
        remedy: A sentence that says what to do instead. Leave it empty if `allowed` says so already.
        problem: A sentence that replaces "`argument` must be allowed, got received" where that would
            not read well. It names the argument and the value itself.

    The parts stay available as attributes, so that a caller can build its own message.

    Example:

    >>> str(InitxError("samples", 1, "an integer >= 2"))
    '`samples` must be an integer >= 2, got 1.'
    >>> problem = "`model` 'm' is not built"
    >>> str(InitxError("model", "m", "a built model", "Call it once on a batch: model(x).", problem))
    "`model` 'm' is not built. Call it once on a batch: model(x)."
    """

    def __init__(
        self, argument: str, received: object, allowed: str, remedy: str = "", problem: str = ""
    ) -> None:
        self.argument = argument
        self.received = received
        self.allowed = allowed
        self.remedy = remedy
        self.problem = problem or f"`{argument}` must be {allowed}, got {received!r}"
        sentence = self.problem if self.problem.endswith((".", "?", "!")) else f"{self.problem}."
        super().__init__(printable(f"{sentence} {remedy}".strip()))

    def __reduce__(self) -> tuple[object, ...]:
        # The default pickles the joined message as the only argument, and fails on loading.
        return type(self), (self.argument, self.received, self.allowed, self.remedy, self.problem)


def printable(text: str, keep: str = "") -> str:
    """Return a text in which the control characters that a terminal obeys are written out.

    Names of layers, columns and files may contain any. Everything that is printed goes through this function:
    errors, summaries, tables and the lines of the command line.

    Args:
        text: The text.
        keep: The control characters to leave, such as the line breaks of a text of several lines.

    Example:

    >>> print(printable("dense\\x1b[31m"))
    dense\\x1b[31m
    """
    return _CONTROLS.sub(lambda found: found[0] if found[0] in keep else repr(found[0])[1:-1], text)


def unknown_name(argument: str, name: object, known: Iterable[str], remedy: str = "") -> InitxError:
    """Return the error for a name that is not among `known`; it suggests the nearest one.

    Example:

    >>> str(unknown_name("initializer", "he_atuo", ["auto", "he_auto"]))
    "`initializer` 'he_atuo' is not known. Did you mean 'he_auto'? Known names: auto, he_auto."
    """
    names = sorted(known)
    near = get_close_matches(str(name), names, n=1) or get_close_matches(str(name).lower(), names, n=1)
    suggestion = f"Did you mean {near[0]!r}? " if near else ""
    listed = f"{suggestion}Known names: {', '.join(names)}. {remedy}".strip()
    return InitxError(
        argument, name, f"one of {', '.join(names)}", listed, f"`{argument}` {name!r} is not known"
    )


def error_line(error: BaseException) -> str:
    """Return the type of an error that a layer or a function raised, and the line that names the cause.

    The line has at most 300 characters and no period at its end. Keras puts "Exception encountered when
    calling ..." or "... Error encountered:" in front of the cause, colours around it, and the arguments of
    the call after it. TensorFlow puts the traceback of a graph in front of it, and names of operations around
    it.

    Example:

    >>> error_line(TypeError("Exception encountered when calling Mine.call().\\n\\nno axis."))
    'TypeError: no axis'
    """
    name = type(error).__name__
    # A KeyError quotes its message.
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    text = (
        _COLOURS.sub("", str(message)).rpartition("Error encountered:")[2].partition("Arguments received")[0]
    )
    lines = [line.strip() for line in _TENSORFLOW.sub("", text).splitlines() if line.strip()]
    if lines and lines[0].startswith("Graph execution error"):
        lines = [line for line in lines if not line.startswith(("[[", "File "))][-1:]
    elif len(lines) > 1 and lines[0].startswith("Exception encountered when calling"):
        del lines[0]
    return f"{name}: {printable(lines[0][:300].rstrip('.'))}" if lines else name


def is_number(value: object) -> bool:
    """Return whether `value` is an int or float of Python or NumPy, and not a bool."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def checked_seed(seed: object) -> int | None:
    """Return a seed as an int, or None; raise an `InitxError` for anything else."""
    if seed is None:
        return None
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool):
        raise InitxError("seed", seed, "None or an integer")
    return int(seed)


def check_positive(argument: str, value: object) -> int:
    """Return `value` as an int; raise an `InitxError` unless it is an integer >= 1."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise InitxError(argument, value, "an integer >= 1")
    return int(value)


def check_built(model: keras.Model, needs_call: bool = True) -> None:
    """Raise an `InitxError` for a model that is not built, or has no `call`, such as a GAN of two networks.

    Args:
        model: The model.
        needs_call: Whether a built model must have a `call` too.

    Example:

    >>> class GAN(keras.Model):
    ...     def __init__(self):
    ...         super().__init__(name="gan")
    ...         self.generator, self.critic = keras.Sequential(), keras.Sequential()
    >>> check_built(GAN())
    Traceback (most recent call last):
    keras_initx.errors.InitxError: `model` 'gan' has no `call`. Pass model.generator or model.critic.
    """
    if model.built and not needs_call:
        return
    if getattr(type(model), "call", None) in (keras.Model.call, keras.Layer.call):
        parts = [f"model.{name}" for name, value in vars(model).items() if isinstance(value, keras.Model)]
        remedy = f"Pass {' or '.join(parts)}." if parts else "Give it a `call`, or pass a model that has one."
        problem = f"`model` {model.name!r} has no `call`"
        raise InitxError("model", model.name, "a model with a `call`", remedy, problem)
    if not model.built:
        remedy, problem = "Call it once on a batch: model(x).", f"`model` {model.name!r} is not built"
        raise InitxError("model", model.name, "a built model", remedy, problem)
