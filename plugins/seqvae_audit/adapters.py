"""Models of pythae and diffusers as two functions; neither library is imported here."""

from typing import Any

from torch import Tensor, nn

from seqvae_core.errors import ShapeError

__all__ = ["Diffusers", "Pythae", "adapted"]

_FLOWS = ("VAE_IAF", "VAE_LinNF", "HVAE", "RHVAE")
_CURVED = ("SVAE", "PoincareVAE")


class Pythae:
    """A VAE of pythae: its encoder's `embedding` and `log_covariance`, its `reconstruction`.

    Raises:
        ShapeError: for a model whose posterior is not the Gaussian of its encoder.
    """

    def __init__(self, model: Any):
        self.model = model
        kinds = [each.__name__ for each in type(model).__mro__ if _maker(each) == "pythae"]
        kind = next((each for each in kinds if each in (*_FLOWS, *_CURVED)), "")
        if kind in _FLOWS:
            raise ShapeError(
                f"pythae's {kind} has a posterior that a flow makes of its encoder's Gaussian; an "
                "audit is of Gaussian posteriors"
            )
        if kind in _CURVED:
            raise ShapeError(
                f"pythae's {kind} has its latent on a curved space; an audit is of Gaussian "
                "posteriors"
            )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and ln σ², (N, D)."""
        found = self.model.encoder(x)
        if "log_covariance" not in found:
            raise ShapeError(
                f"the encoder of pythae's {type(self.model).__name__} gives no log_covariance: it "
                "is no VAE with Gaussian posteriors"
            )
        return found["embedding"], found["log_covariance"]

    def decode(self, z: Tensor) -> Tensor:
        """Return the mean of x, (N, *frame)."""
        found: Tensor = self.model.decoder(z)["reconstruction"]
        return found


class Diffusers:
    """`diffusers.AutoencoderKL` and its like: maps (N, C, H, W), not scaled by `scaling_factor`.

    The scaling that a diffusion pipeline applies to z is no part of the VAE.
    """

    def __init__(self, model: Any):
        self.model = model

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and ln σ², (N, C, H, W)."""
        found = getattr(self.model.encode(x), "latent_dist", None)
        if found is None or not hasattr(found, "logvar"):
            raise ShapeError(
                f"diffusers' {type(self.model).__name__} gives no Gaussian posterior (latent_dist)"
            )
        return found.mean, found.logvar

    def decode(self, z: Tensor) -> Tensor:
        """Return the mean of x, (N, *frame)."""
        found: Tensor = self.model.decode(z).sample
        return found


def adapted(model: Any) -> Any:
    """Return a model of pythae or diffusers as an object with encode and decode; else itself."""
    makers = {_maker(each) for each in type(model).__mro__}
    if not isinstance(model, nn.Module):
        return model
    if "pythae" in makers:
        return Pythae(model)
    return Diffusers(model) if "diffusers" in makers else model


def _maker(kind: type) -> str:
    return kind.__module__.partition(".")[0]
