"""The models of `models_in_the_wild.py`, and how each is measured."""

from wild import families
from wild.registry import MODELS, Wild

__all__ = ["MODELS", "Wild", "families"]
