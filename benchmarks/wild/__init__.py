"""The models of `models_in_the_wild.py`, by family."""

from wild import (
    backbones,
    diffusion_and_densities,
    fields,
    generative,
)
from wild.registry import MODELS, Wild

__all__ = ["MODELS", "Wild", "backbones", "diffusion_and_densities", "fields", "generative"]
