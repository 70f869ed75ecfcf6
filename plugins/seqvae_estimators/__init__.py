"""Estimators of mutual information, in nats, and the critics that regularizers train."""

from typing import TYPE_CHECKING

from seqvae_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from seqvae_core.components import MIEstimatorConfig


@hookimpl
def seqvae_mi_estimators() -> "list[type[MIEstimatorConfig]]":
    """Return the estimators that train a critic."""
    from seqvae_estimators.config import CLUB, NWJ, DensityRatio, InfoNCE

    return [DensityRatio, InfoNCE, NWJ, CLUB]
