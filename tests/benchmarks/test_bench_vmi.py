"""A training step with VMI: the published networks on 28×28 images, batch 124."""

import pytest
import torch

from seqvae_core.experiment import Experiment
from seqvae_core.loading import collate
from seqvae_core.plugins import Plugins
from seqvae_core.records import Splits
from seqvae_core.training import Trainer

# By preset, the most plain steps. Q has about half of the VAE's arithmetic, and is run once forward
# and once back. Codes of other weights need a second way back, pairs from the prior half a decode.
GOALS = {"fashion-mnist-joint-vmi": 1.6, "mnist-joint-vmi": 1.8, "mnist-vmi": 1.8}


def step_of(preset, *overrides):
    """Return a function that does one step of the trainer."""
    experiment = Experiment.load(preset, Plugins.load(), list(overrides))
    generator = torch.Generator().manual_seed(0)
    data = [torch.rand(1, 1, 28, 28, generator=generator) for _ in range(124)]
    trainer = Trainer(experiment, Splits(train=data, valid=[], test=data))
    batch = collate(data)
    return lambda: trainer.advance([batch])


@pytest.mark.parametrize("preset", GOALS)
def test_vmi_costs_so_many_plain_steps(ratio, preset):
    cost = ratio(step_of(preset), step_of(preset, "regularizers=[]"), rounds=12)
    assert cost <= GOALS[preset]
