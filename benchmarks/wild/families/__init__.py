"""The models, by family. Each module registers its models when it is imported."""

from wild.families import (
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

__all__ = [
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
