"""Drawing 28×28 images pixel by pixel, against a run of the whole decoder for every pixel.

The decoder is a small one. The wider and deeper it is and the more images are drawn at once, the
more of the time is arithmetic, and the more is spared.
"""

import ancestral
import torch

from seqvae_basics.autoregressive_config import PixelCNN
from seqvae_core.noise import Noise
from seqvae_core.records import Shapes, Variable

Z = Variable(name="z", scope="global", shape=(16,))
IMAGES = 16


@torch.no_grad()
def test_sampling_from_a_memory_costs_at_most_a_fifth_and_draws_the_same(ratio):
    torch.manual_seed(0)
    config = PixelCNN(channels=8, blocks=2, hidden=(16,))
    decoder = config.build(Shapes(frame=(1, 28, 28), latents={"z": Z}))
    latents, lengths = {"z": torch.randn(IMAGES, 16)}, torch.ones(IMAGES, dtype=torch.long)
    drawn = {}

    def draw_with(name, sampler):
        drawn[name] = sampler(latents, lengths, ancestral.bernoulli(Noise(0)))

    found = ratio(
        lambda: draw_with("mine", decoder.ancestral),
        lambda: draw_with("theirs", lambda *given: ancestral.naive(decoder, *given)),
        rounds=1,
    )
    assert drawn["mine"].equal(drawn["theirs"])
    assert found <= 0.2
