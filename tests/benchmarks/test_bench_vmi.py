"""A training step with VMI: the published networks on 28×28 images, batch 124."""

import pytest
import torch

from seqvae_core.experiment import Experiment
from seqvae_core.loading import collate
from seqvae_core.plugins import Plugins
from seqvae_core.records import Splits
from seqvae_core.training import Trainer

GOAL = 1.5  # plain steps
# Q has about half of the VAE's arithmetic, and is run once forward and once back.
MISSED = {
    "mnist-joint-vmi": "codes of other weights need a second way back through Q",
    "mnist-vmi": "half of the batch is decoded once more, from the prior",
}
PRESETS = [
    "fashion-mnist-joint-vmi",
    *(
        pytest.param(preset, marks=pytest.mark.xfail(strict=False, reason=reason))
        for preset, reason in MISSED.items()
    ),
]


def step_of(preset, *overrides):
    """Return a function that does one step of the trainer."""
    experiment = Experiment.load(preset, Plugins.load(), list(overrides))
    generator = torch.Generator().manual_seed(0)
    data = [torch.rand(1, 1, 28, 28, generator=generator) for _ in range(124)]
    trainer = Trainer(experiment, Splits(train=data, valid=[], test=data))
    batch = collate(data)
    return lambda: trainer.advance([batch])


@pytest.mark.filterwarnings("ignore:.*a constant code pays:UserWarning")
@pytest.mark.parametrize("preset", PRESETS)
def test_vmi_costs_half_a_plain_step_more(ratio, preset):
    cost = ratio(step_of(preset), step_of(preset, "regularizers=[]"), rounds=12)
    assert cost <= GOAL
