"""Settings of the picture of the Jacobian's columns."""

import math
from functools import partial
from typing import ClassVar

from attrs import field, frozen, validators

from seqvae_core.components import Task, TaskConfig
from seqvae_core.records import Shapes

__all__ = ["JacobianColumns"]


@frozen(kw_only=True)
class JacobianColumns(TaskConfig):
    """What each dimension of a latent changes in the decoded frames: pictures and sparsity.

    Attributes:
        latent: which one; all that the decoder allows when left out.
        items: test sequences that the numbers are of, evenly spaced.
        pictures: how many of them are drawn; 0 for none.
        columns: how many columns are drawn, those of the largest norm.
        epsilon: the step of central differences, for a decoder that takes no forward mode.
        resamples: of the bootstrap.
    """

    name: ClassVar[str] = "jacobian-columns"

    latent: str | None = None
    items: int = field(default=16, validator=validators.ge(1))
    pictures: int = field(default=3, validator=validators.ge(0))
    columns: int = field(default=8, validator=validators.ge(1))
    epsilon: float = field(default=1e-2, validator=[validators.gt(0.0), validators.lt(math.inf)])
    resamples: int = field(default=1000, validator=validators.ge(1))

    def build(self, shapes: Shapes) -> Task:
        """Build the task; raise `ShapeError` if the model has no latent of that name."""
        from seqvae_jacobian.columns import jacobian_columns

        if self.latent is not None:
            shapes.latent(self.latent)
        return partial(jacobian_columns, self)
