"""What the page sets side by side without a test: estimators and their costs, equal ELBOs."""

from collections.abc import Mapping
from statistics import mean

import numpy as np

from seqvae_core.study import Record
from seqvae_jacobian.study import ARMS, FEW, STEPS

__all__ = ["COSTS", "ELBO", "MIG", "Found", "equal_elbo", "estimators"]

ELBO = "rates/elbo"
MIG = "local-disentanglement/mig/0.1"
# processor time of a step over a plain one's, as measured by `make bench`; with GELU it was not
COSTS = {"jl1": 1.97, "fine": 1.97, "half": 1.58, "forward": 2.9, "published": 7.6,
         "gelu-jl1": None, "gelu-forward": None}  # fmt: skip

Found = Mapping[tuple[str, int], Record]  # by arm and seed


def estimators(found: Found) -> list[str]:
    """Set what each estimator brought beside its cost, on the seeds of both it and its β-VAE."""
    titles = {arm.key: arm.title for arm in ARMS} | {"jl1": "ε = 0.1, 1 column (the default)"}
    controls = {key: "gelu-beta-vae" if key.startswith("gelu") else "beta-vae" for key in COSTS}
    lines = []
    for key, control in controls.items():
        seeds = [seed for seed in FEW if {(key, seed), (control, seed)} <= found.keys()]
        if not seeds:
            continue
        rises = [
            found[key, seed]["figures"][MIG] - found[control, seed]["figures"][MIG]
            for seed in seeds
        ]
        cost = COSTS[key]
        steps = STEPS["three-dots"] / 1000.0
        each = "" if cost is None else f"{mean(rises) / (cost * steps):+.4f}"
        lines.append(
            f"| {titles[key]} | {cost or ''} | {', '.join(f'{r:+.3f}' for r in rises)} | "
            f"{mean(rises) / steps:+.4f} | {each} |"
        )
    if not lines:
        return []
    return [
        "## What an estimator brings for what it costs\n",
        f"Local MIG at ρ = 0.1 after {STEPS['three-dots']} steps, less that of the β-VAE of the "
        f"same seed, for seeds {' and '.join(map(str, FEW))}; the same by 1000 steps, and by the "
        "time of 1000 plain ones. Costs, in plain steps, are those of the plugin's README. Not "
        "tested, and over so few seeds no ranking.\n",
        "| estimator | cost | seed by seed | by 1000 steps | by the time of 1000 plain ones |",
        "|---|---|---|---|---|",
        *lines,
        "",
    ]


def equal_elbo(found: Found) -> list[str]:
    """Compare local MIG with that of a β-VAE of the same ELBO, between those of three β."""
    arms = ("beta-vae", "beta-6", "beta-8")
    seeds = [seed for seed in FEW if all((arm, seed) in found for arm in ("jl1", *arms))]
    if not seeds:
        return []

    def point(arm: str) -> tuple[float, float]:
        known = [found[arm, seed]["figures"] for seed in seeds]
        return mean(f[ELBO] for f in known), mean(f[MIG] for f in known)

    (elbo, mig), points = point("jl1"), sorted(map(point, arms))
    elbos, migs = zip(*points, strict=True)
    if not elbos[0] <= elbo <= elbos[-1]:
        said = (
            f"none of them has it: theirs are {elbos[0]:.0f} to {elbos[-1]:.0f} nats, with local "
            f"MIG from {min(migs):.3f} to {max(migs):.3f}"
        )
    else:
        said = f"of {np.interp(elbo, elbos, migs):.3f}, interpolated"
    which = " and ".join(map(str, seeds))
    return [
        "## At equal ELBO\n",
        f"Seed {which}: JL1 at γ = 0.1 has an ELBO of {elbo:.0f} nats and a local MIG of {mig:.3f} "
        f"at ρ = 0.1. Of β-VAEs with β = 4, 6 and 8 at that ELBO: {said}. Not tested.\n",
    ]
