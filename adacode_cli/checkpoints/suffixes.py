"""The suffixes of files of weights, in lower case."""

from __future__ import annotations

PICKLED = (".pth", ".pt", ".ckpt")
"""Of files of tensors as training code pickles them."""
SUFFIXES = (".safetensors", *PICKLED)
