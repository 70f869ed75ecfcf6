"""A model whose latents are known: z is the mean of two channels, s_t the two others."""

import torch
from attrs import evolve
from torch import nn

from seqvae_basics.config import Framewise, GaussianLikelihood, Identity, StandardNormal
from seqvae_basics.distributions import Gaussian
from seqvae_core.components import Encoder
from seqvae_core.functional import masked_mean
from seqvae_core.model import SeqVAE, seeded
from seqvae_core.records import Shapes, Splits, Variable


class Mirror(Encoder):
    def __init__(self):
        super().__init__()
        self.map = nn.Linear(4, 4)
        nn.init.eye_(self.map.weight)
        nn.init.zeros_(self.map.bias)
        self.logvar = nn.Parameter(torch.tensor([-4.0, -5.0]))

    def forward(self, features, mask, draw):
        value = self.map(features)
        draw("z", Gaussian(masked_mean(value[..., :2], mask), self.logvar))
        draw("s", Gaussian(value[..., 2:], self.logvar))


def mirror(seed=0, *, latents=None):
    """Return the model; its decoder has random weights."""
    latents = latents or {
        "z": Variable(name="z", scope="global", shape=(2,)),
        "s": Variable(name="s", scope="local", shape=(2,)),
    }
    with seeded(seed, "mirror"):
        shapes = Shapes(frame=(4,), latents=latents)
        backbone = Identity().build(shapes)
        decoder = Framewise(hidden=(8,)).build(shapes)
        shapes = evolve(shapes, features=4, decoded=decoder.decoded)
        priors = {name: StandardNormal().build(evolve(shapes, target=name)) for name in ("z", "s")}
        likelihood = GaussianLikelihood().build(shapes)
        return SeqVAE(backbone, Mirror(), priors, decoder, likelihood, shapes)


def sequences(count, *, classes=3, seed=0, spread=0.05, spacing=4.0):
    """Return items whose `speaker` lies in z and whose local `phone` lies in s_t."""
    generator = torch.Generator().manual_seed(seed)
    items = []
    for index in range(count):
        length = int(torch.randint(2, 8, (1,), generator=generator))
        speaker = index % classes
        angle = torch.tensor(2.0 * torch.pi * speaker / classes)
        centre = spacing * torch.stack([angle.cos(), angle.sin()])
        phone = torch.randint(0, 2, (length,), generator=generator)
        content = torch.stack([2.0 * phone - 1.0, 1.0 - 2.0 * phone], 1)
        clean = torch.cat([centre.expand(length, 2), spacing * content], 1)
        noise = torch.randn(length, 4, generator=generator)
        items.append(
            {
                "x": (clean + spread * noise).to(torch.get_default_dtype()),
                "speaker": speaker,
                "phone": phone,
                "pitch": float(centre[0] + spread * noise[0, 0]),
            }
        )
    return items


def splits(train=30, test=24, **settings):
    """Return train and test part of different seeds."""
    return Splits(
        train=sequences(train, seed=1, **settings),
        valid=[],
        test=sequences(test, seed=2, **settings),
        classes={"speaker": ("ada", "bea", "cyd")},
    )


def relabelled(items, **labels):
    """Return the items with other labels, each a list with one entry an item."""
    return [
        {"x": item["x"], **{name: values[i] for name, values in labels.items()}}
        for i, item in enumerate(items)
    ]


def padded(items, junk=float("nan"), frames=3):
    """Return the items with junk behind each sequence, and its length."""
    longer = []
    for item in items:
        length = len(item["x"])
        x = torch.cat([item["x"], torch.full((frames, 4), junk, dtype=item["x"].dtype)])
        phone = torch.cat([item["phone"], torch.full((frames,), 1)])
        longer.append({**item, "x": x, "phone": phone, "length": length})
    return longer
