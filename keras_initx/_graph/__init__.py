"""The computation of a model as a graph: traced, classified, replayed."""
