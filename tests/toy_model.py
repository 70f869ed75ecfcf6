"""One forward pass made by hand: Gaussian latents from two parameters, no networks."""

import torch
from strategies import normal

from seqvae_core.functional import gaussian_kl, gaussian_log_prob, zero_padding
from seqvae_core.noise import Noise
from seqvae_core.records import Batch, Latent, Output


class Gaussian:
    """A diagonal Gaussian, as seqvae's `Distribution` protocol wants it."""

    def __init__(self, mean, logvar):
        self.mean, self.logvar = mean, logvar

    def rsample(self, noise):
        return self.mean + torch.exp(0.5 * self.logvar) * noise.normal(self.mean)

    def log_prob(self, value):
        return gaussian_log_prob(value, self.mean, self.logvar)

    def kl(self, other, sample):
        return gaussian_kl(self.mean, self.logvar, other.mean, other.logvar)

    def detach(self):
        return Gaussian(self.mean.detach(), self.logvar.detach())


def make_output(seed, mask, padding=0.0, noise=None):
    """Return an output with latents z (B, 2) and s (B, T, 3), and its two parameters.

    What stands in the padding of the posterior and of the prior is `padding`.
    """
    batch = len(mask)
    theta = normal(seed, 2, 3).requires_grad_()
    phi = normal(seed + 1, 3).requires_grad_()
    noise = noise or Noise(seed)

    def padded(value):
        return torch.where(mask[:, :, None], value, torch.full((), padding, dtype=value.dtype))

    # From `Noise`: more padding begins with the same numbers.
    frames = torch.empty(*mask.shape, 3, dtype=torch.float64)
    local, x = (Noise(seed).of(name).normal(frames) for name in ("local", "x"))
    z = Gaussian(normal(seed + 2, batch, 2) * theta[:, 0], theta[:, 1].expand(batch, 2))
    s = Gaussian(padded(local * phi), padded(local - phi))
    wide = Gaussian(padded(0.5 * local), padded(local.abs()))
    standard = Gaussian(torch.zeros_like(z.mean), torch.zeros_like(z.mean))
    samples = {"z": z.rsample(noise.of("z")), "s": zero_padding(s.rsample(noise.of("s")), mask)}

    def decoder(latents, mask, x):
        mean = latents["s"] * latents["z"].sum(1)[:, None, None]
        return Gaussian(mean, torch.zeros_like(mean) + theta[0, 2])

    out = Output(
        batch=Batch.of(x, mask=mask).zeroed(),
        latents={
            "z": Latent(name="z", scope="global", sample=samples["z"], mask=mask,
                        posterior=z, prior=standard),
            "s": Latent(name="s", scope="local", sample=samples["s"], mask=mask,
                        posterior=s, prior=wide),
        },
        likelihood=decoder(samples, mask, None),
        noise=noise,
        decoder=decoder,
    )  # fmt: skip
    return out, [theta, phi]
