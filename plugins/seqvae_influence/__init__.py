"""Influential factors: the mutual information of the data and each latent (Liu et al., 2020)."""

from typing import TYPE_CHECKING

from seqvae_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from seqvae_core.components import TaskConfig


@hookimpl
def seqvae_tasks() -> "list[type[TaskConfig]]":
    """Return the table of each factor's information about the data."""
    from seqvae_influence.config import Influence

    return [Influence]
