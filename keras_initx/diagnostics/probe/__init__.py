"""One forward and backward pass over a model, and what is read from it."""
