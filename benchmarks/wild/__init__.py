"""The models of `models_in_the_wild.py`, by family."""

from wild import (
    backbones,
    dense_vision,
    diffusion_and_densities,
    experts_and_sets,
    fields,
    generative,
    reinforcement,
    retrieval,
    sequences,
    transformers,
)
from wild.registry import MODELS, Wild

__all__ = [
    "MODELS",
    "Wild",
    "backbones",
    "dense_vision",
    "diffusion_and_densities",
    "experts_and_sets",
    "fields",
    "generative",
    "reinforcement",
    "retrieval",
    "sequences",
    "transformers",
]
