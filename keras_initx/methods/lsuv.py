"""`lsuv`: orthogonal kernels, each scaled to unit variance on a batch of data."""

from keras_initx.initializers import OrthogonalAuto
from keras_initx.methods.choice import Choice, Sites


def lsuv(sites: Sites) -> dict[int, Choice]:
    """Layer-sequential unit variance, in one pass: the scaling is exact, so nothing is repeated.

    References: Mishkin & Matas 2016 (arXiv 1511.06422), algorithm 1.
    """
    reason = "orthogonal, scaled to unit variance on the data"
    return {number: Choice("lsuv", OrthogonalAuto(gain=1.0), reason=reason) for number in sites}
