"""Steps of the published 64×64 networks with the Jacobian's penalty, for the benchmarks to time."""

import re
import sys
import time
from pathlib import Path

import torch

from seqvae_core.experiment import Experiment
from seqvae_core.loading import collate
from seqvae_core.plugins import Plugins
from seqvae_core.records import Noise, Splits
from seqvae_core.training import Trainer

BATCH, GAMMA, EPSILON = 64, 0.1, 1e-3

# by the name of a row in a table: the settings of `jacobian-l1`
ESTIMATORS = {
    "1 column": "epsilon=0.1",
    "1 column of half of the batch": "epsilon=0.1, rows=32",
    "all columns": "epsilon=0.001, columns=0",
    "autodiff, 1 column": 'method="forward"',
    "autodiff, 1 column of half of the batch": 'method="forward", rows=32',
    "autodiff, all columns of 8 rows": 'method="forward", columns=0, rows=8',
    "autodiff, all columns": 'method="forward", columns=0',
}


def _trainer(settings: str | None) -> tuple[Trainer, list[torch.Tensor]]:
    """Return a trainer of the preset's networks, with the penalty if settings are given."""
    term = f'regularizers=[{{name="jacobian-l1", weight={GAMMA}, latent="z", {settings}}}]'
    overrides = [] if settings is None else [term]
    experiment = Experiment.load("three-dots-beta-vae", Plugins.load(), overrides)
    generator = torch.Generator().manual_seed(0)
    data = [torch.rand(1, 1, 64, 64, generator=generator) for _ in range(BATCH)]
    return Trainer(experiment, Splits(train=data, valid=[], test=data)), data


def library_step(settings: str | None):
    """Return a function that does one step of the trainer."""
    trainer, data = _trainer(settings)
    batch = collate(data)
    return lambda: trainer.advance([batch])


def published_step():
    """Return one step with the penalty as it was published: (L + 1)·B rows decoded at once."""
    trainer, data = _trainer(None)
    device = trainer.fabric.device
    model, batch = trainer.model, collate(data).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step():
        out = model(batch, Noise(0))
        loss = trainer.objective(out, 0).total.mean()
        z = out.latents["z"].sample.detach()
        moves = EPSILON * torch.eye(z.shape[1] + 1, z.shape[1], device=device).roll(1, 0)
        moved = (z + moves[:, None]).flatten(0, 1)
        mask = torch.ones(len(moved), 1, dtype=torch.bool, device=device)
        means = model._likelihood_of({"z": moved}, mask, None).mean
        means = means.reshape(len(moves), len(z), -1)
        penalty = ((means[1:] - means[0]) / EPSILON).abs().sum((0, 2)).mean()
        optimizer.zero_grad()
        (loss + GAMMA * penalty).backward()
        optimizer.step()

    return step


def steps(name: str):
    """Return the step of a row of the table: an estimator, "published" or "plain"."""
    if name == "published":
        return published_step()
    return library_step(ESTIMATORS.get(name))


def clock():
    """Return processor time; on a GPU wall time, when it has done what it was told."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def peak():
    """Return this process's peak of memory in MiB; on a GPU that of its tensors there."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() // 2**20
    # not ru_maxrss, which keeps the peak of the process that this one was forked from
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024


if __name__ == "__main__":  # three steps in a process of their own; prints its peak of memory
    torch.set_num_threads(1)
    run = steps(sys.argv[1])
    for _ in range(3):
        run()
    sys.stdout.write(str(peak()))
