"""Data that other libraries hold: torch data sets, Hugging Face data sets."""

from typing import TYPE_CHECKING, Any

__all__ = ["from_torch"]

if TYPE_CHECKING:
    from seqvae_data.foreign.torch_data import from_torch


def __getattr__(name: str) -> Any:
    """Import torch no sooner than it is needed."""
    if name != "from_torch":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from seqvae_data.foreign.torch_data import from_torch

    return from_torch
