"""Settings of the penalties on the decoder's Jacobian."""

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from attrs import field, frozen, validators

from seqvae_core.components import RegularizerConfig
from seqvae_core.records import Shapes

if TYPE_CHECKING:
    from seqvae_jacobian.regularizer import JacobianRegularizer

__all__ = ["JacobianConfig", "JacobianL1", "JacobianL2"]

_count = validators.ge(0)
_step = [validators.gt(0.0), validators.lt(math.inf)]


@frozen(kw_only=True)
class JacobianConfig(RegularizerConfig):
    """What the penalties on the decoder's Jacobian have in common.

    Attributes:
        weight: γ. It goes with the number of pixels and with their unit.
        latent: z, global or local; the only global one when left out.
        method: of the derivatives. "finite-difference" divides by ε what a step of ε changes,
            "forward" is exact, but its gradient is biased for a decoder with kinks (ReLU).
        epsilon: ε > 0, the step of finite differences. Where posteriors are narrow it should not
            be above their σ; 0.001 and all columns is the published setting.
        columns: of the Jacobian, how many are drawn for each sequence; 0, or more than there are,
            takes all.
        rows: how many sequences of a batch are drawn; 0, or more than there are, takes all.
        chunk: columns of single sequences that are computed at a time. It changes memory and time
            alone: small ones spare a CPU page faults, a GPU wants large ones.
        through_encoder: train the encoder by the term too, at the price of all columns' graphs in
            memory at once.
    """

    latent: str | None = None
    method: Literal["finite-difference", "forward"] = "finite-difference"
    epsilon: float = field(default=0.1, validator=_step)
    columns: int = field(default=1, validator=_count)
    rows: int = field(default=0, validator=_count)
    chunk: int = field(default=64, validator=validators.ge(1))
    through_encoder: bool = False

    power: ClassVar[int]

    @property
    def couples_batch(self) -> bool:  # type: ignore[override]
        """Whether what is drawn for a row depends on its place in the batch and on how many."""
        return self.columns > 0 or self.rows > 0

    def build(self, shapes: Shapes) -> "JacobianRegularizer":
        """Build the term.

        Raises:
            ConfigError: if the latent is left out and not clear, is none that a decoder reads, or
                is categorical.
        """
        from seqvae_jacobian.regularizer import JacobianRegularizer

        return JacobianRegularizer(self, shapes)


@frozen(kw_only=True)
class JacobianL1(JacobianConfig):
    """The absolute values of the decoder's Jacobian, summed: Σ_ij |∂E[x_i]/∂z_j| at a sample z."""

    name: ClassVar[str] = "jacobian-l1"
    power: ClassVar[int] = 1


@frozen(kw_only=True)
class JacobianL2(JacobianConfig):
    """The squares of the decoder's Jacobian, summed: Σ_ij (∂E[x_i]/∂z_j)² at a sample z."""

    name: ClassVar[str] = "jacobian-l2"
    power: ClassVar[int] = 2
