"""What the study of VMI reads off a run beside its evaluation: curves, and a picture."""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import mean

from attrs import evolve

from seqvae_core import checkpoint, files
from seqvae_core.devices import threads
from seqvae_core.plugins import Plugins
from seqvae_core.records import Noise
from seqvae_core.study import drawn
from seqvae_vmi.config_bound import VMIBound

__all__ = ["CURVES", "measure", "pictures"]

_LOOK = VMIBound(
    codes=("c",), linear=False, count=2000, held_out=1000, steps=200, check_every=25, patience=3
)
CURVES = {
    "hard": evolve(_LOOK, pairs=("prior",), samples=("hard",)),
    "soft": evolve(_LOOK, pairs=("posterior",), samples=("soft",)),
}
_WINDOW = 10  # lines of metrics that a point of the KL's curve is the mean of


def measure(run: Path) -> Mapping[str, float]:
    """Return the bound on the code c at each checkpoint, and its KL there: "curve/NAME/STEP".

    Every checkpoint is read by a fresh Q of the same budget, on pairs of the test part. The KL is
    that of the training batches before it. Of a run without c nothing is measured.
    """
    plugins = Plugins.load()
    experiment = checkpoint.read_experiment(run, plugins)
    if "c" not in experiment.model.latents:
        return {}
    found: dict[str, float] = {}
    model, splits = checkpoint.load(run, plugins), checkpoint.load_splits(run, plugins)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    with threads(experiment.train.threads):
        for folder in sorted((run / "checkpoints").glob("step-*")):
            step = int(folder.name.removeprefix("step-"))
            files.load_weights(folder / "weights.safetensors", {"model": model})
            for name, config in CURVES.items():
                noise = Noise(experiment.seed).of("curve").of(name)
                metrics = config.build(model.shapes)(model, splits, noise).metrics
                title = "prior/c" if name == "hard" else "posterior soft/c"
                found[f"curve/{name}/{step}"] = metrics[title]
            before = [line["kl/c"] for line in lines if line["step"] <= step and "kl/c" in line]
            found[f"curve/kl/{step}"] = mean(before[-_WINDOW:])
    return found


def pictures(run: Path) -> Mapping[str, bytes]:
    """Return the grid of the two selected latents, if the run has drawn it, by its arm."""
    found = drawn(run, "traverse", "z[0] and z[1]")
    return {f"grid-{run.parent.name}": picture for picture in found}
