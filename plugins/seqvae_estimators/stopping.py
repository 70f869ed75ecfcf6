"""Training that stops when the loss on other rows no longer falls."""

import math
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from seqvae_core.devices import make_optimizer
from seqvae_core.settings import OptimizerConfig

__all__ = ["train_until"]


@torch.enable_grad()
def train_until(
    module: nn.Module,
    loss: Callable[[], Tensor],
    held_out: Callable[[], float],
    optimizer: OptimizerConfig,
    *,
    steps: int,
    check_every: int,
    patience: int,
    first: float = math.inf,
) -> bool:
    """Train a module until its held-out loss no longer falls, and leave it at its best.

    Args:
        module: what is trained, all of its parameters.
        loss: of the next batch, a scalar.
        held_out: the loss that stops the training.
        optimizer: settings.
        steps: the most there are.
        check_every: steps between looks at the held-out loss.
        patience: looks without a better one before training stops.
        first: the held-out loss of the untrained module, if that is worth keeping.

    Returns:
        Whether it came to that; if not, the held-out loss may still have been falling.
    """
    trained = make_optimizer(optimizer, module.parameters())
    best, waited, kept = first, 0, deepcopy(module.state_dict())
    for step in range(steps):
        for group in trained.param_groups:
            group["lr"] = optimizer.rate(step, steps)
        value = loss()
        trained.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        trained.step()
        if (step + 1) % check_every == 0:
            found = held_out()
            waited += 1
            if found < best:
                best, waited, kept = found, 0, deepcopy(module.state_dict())
            if waited == patience:
                break
    module.load_state_dict(kept)
    return waited == patience
