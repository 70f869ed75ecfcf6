"""Q in closed form: a linear mean and one variance, for a check on the trained one."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from seqvae_basics.codes import Code
from seqvae_core.functional import gaussian_log_prob, masked_mean
from seqvae_tasks.representations import Array, coarse
from seqvae_vmi.bound_pairs import Pairs

__all__ = ["linear_scores"]

_ROWS = 5000  # frames that a fit on frames sees at most
_STRENGTHS = np.logspace(-6.0, 4.0, 11)


def linear_scores(
    units: Sequence[Code], fitted: Pairs, stopping: Pairs, held: Pairs
) -> dict[str, Tensor]:
    """Return ln N(c; w·x̃ + b, σ²) of each Gaussian code by its name, (N,) or (N, T), in nats.

    w and b by ridge regression on the first pairs, σ² from the second; of a global code x̃ is its
    mean over time. Large pictures are averaged over blocks.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found: dict[str, Tensor] = {}
    for scope in ("global", "local"):
        mine = [unit for unit in units if unit.variable.scope == scope and not unit.groups]
        if not mine:
            continue
        parts = [_table(mine, pairs, local=scope == "local") for pairs in (fitted, stopping, held)]
        (x, c), (x_valid, c_valid), (x_held, c_held) = parts
        reader = make_pipeline(StandardScaler(), RidgeCV(alphas=_STRENGTHS))
        reader.fit(x[:_ROWS], c[:_ROWS])
        answers = [reader.predict(each).reshape(len(each), -1) for each in (x_valid, x_held)]
        spread = np.maximum(np.square(c_valid - answers[0]).mean(0), 1e-12)
        score = gaussian_log_prob(
            torch.from_numpy(c_held), torch.from_numpy(answers[1]), torch.from_numpy(np.log(spread))
        )
        for number, unit in enumerate(mine):
            value = score[:, number]
            if scope == "local":
                value = torch.zeros(held.mask.shape, dtype=value.dtype).masked_scatter(
                    held.mask.cpu(), value
                )
            found[unit.name] = value.to(held.mask.device)
    return found


def _table(units: Sequence[Code], pairs: Pairs, *, local: bool) -> tuple[Array, Array]:
    x = coarse(pairs.x)
    c = torch.cat([unit.of(pairs.latents) for unit in units], -1)
    x = x.flatten(2)[pairs.mask] if local else masked_mean(x, pairs.mask).flatten(1)
    c = c[pairs.mask] if local else c
    return x.cpu().double().numpy(), c.cpu().double().numpy()
