"""Training data: arrays, files, and what is checked of them."""
