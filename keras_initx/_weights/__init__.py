"""The weights of a model: found, selected, restored, redrawn."""
