"""One forward pass that scales the weights of a model to their targets."""
