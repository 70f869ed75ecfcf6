"""What the trainer, its metrics and its observers cost beside the bare steps."""

import dsae
import torch
from attrs import evolve
from torch.utils.data import DataLoader

from seqvae_core.checkpoint import MetricsLog
from seqvae_core.loading import collate
from seqvae_core.records import Noise, Run

STEPS = 5


def bare_loop(plugins):
    """Return a function that steps model and objective in the shortest loop that trains them."""
    made = dsae.trainer(plugins)
    model, objective, noise = made.model, made.objective, Noise(0)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    loader = DataLoader(made.splits.train, dsae.BATCH, shuffle=True, collate_fn=collate)

    def steps():
        for step in range(STEPS):
            [batch] = loader
            loss = objective(model(batch, noise), step).total.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return steps


def trainer_loop(plugins, folder):
    """Return a function that trains on, every step to `metrics.jsonl` and to all observers."""
    made = dsae.trainer(plugins)
    run = Run(path=folder, experiment=made.experiment)
    log = MetricsLog(folder / "metrics.jsonl")
    plugins.before_run(run)

    def write(step, metrics):
        run.step = step
        log(step, metrics)
        plugins.after_step(run, {"step": step, **metrics})

    def steps():
        made.config = evolve(made.config, steps=made.step + STEPS)
        made.fit(log=write)

    def close():
        log.close()
        plugins.after_run(run, None)

    return steps, close


def test_the_trainer_costs_at_most_five_percent_over_a_bare_loop(ratio, plugins, tmp_path):
    steps, close = trainer_loop(plugins, tmp_path)
    try:
        assert ratio(steps, bare_loop(plugins), rounds=20) <= 1.05
    finally:
        close()
