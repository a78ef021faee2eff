"""Draw the weights of one layer; the gains of activations as published."""

GELU, TANH, SIGMOID = 2.35171561, 2.53617543, 3.40855984


def drawn(layer, shape, weight="kernel"):
    layer.build(shape)
    return getattr(layer, weight)
