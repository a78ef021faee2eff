"""The signal of a trial before its training, layer by layer, for the dashboards."""

import keras

from ._variables import assign, every_variable, values_of
from .signal import Batch, Signal
from .starts import LayerStart
from .watching import layer_starts, watching


def signal_at_start(
    model: keras.Model, sample: Batch, signal: Signal | None = None
) -> tuple[LayerStart, ...]:
    """What each layer with a kernel shows before training, in the order in which they are called.

    Args:
        model: A built model; it is as it was afterwards.
        sample: The batch (x, y) to look at it with where there is no `signal`.
        signal: What `SignalProbe` measured of the model; None where nothing did: there are no gradients then.

    Returns:
        The layers; none where the model cannot be looked at: a board is not worth a trial.
    """
    if signal is not None:
        return signal.layers
    variables = every_variable(model)
    kept = values_of(variables)
    try:
        with watching(model) as outputs:
            model(sample[0], training=True)
        return layer_starts(model, outputs)
    except Exception:
        return ()
    finally:
        # Moving statistics and random states.
        assign(variables, kept)
