"""The cells of the study of CMI: their keys, their tasks, and the settings of each arm."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from seqvae_cmi.study import (
    CRITIC,
    GRID,
    GRID_SEED,
    IMAGE_CRITIC,
    IMAGE_POINTS,
    IMAGE_SEEDS,
    IMAGES,
    POINTS,
    SEEDS,
    SETTINGS,
    SPEECH,
    SPEECH_POINTS,
    SPEECH_SEEDS,
    Setting,
)
from seqvae_core.study import Cell

__all__ = ["cells", "grid_key", "group_key", "key"]

_TASKS = '["probe", "verification", "reconstruction", "rates", {name="mutual-information", %s}]'
_MI = (
    'estimator={name="density-ratio", steps=600, batch_size=64, check_every=20, patience=5, '
    'critic={name="conv", width=64, optimizer={lr=1e-3}}}'
)
_IMAGE_MI = (
    'estimator={name="density-ratio", steps=300, batch_size=32, check_every=50, patience=3, '
    'shuffles=4, critic={name="conv", width=16, optimizer={lr=1e-3}}}'
)


def key(name: str, arm: str, gamma: float, seed: int) -> str:
    """Return the key of a confirmatory cell."""
    return f"{name}/{arm}/{gamma:g}/seed-{seed}"


def grid_key(name: str, gamma: float, rate: float, steps: int) -> str:
    """Return the key of a cell of the grid of critics; at γ = 0 there is no critic."""
    return f"{name}/grid/{gamma:g}/" + (f"lr-{rate:g}-steps-{steps}" if gamma else "vae")


def group_key(name: str, group: str, arm: str, gamma: float, seed: int) -> str:
    """Return the key of a cell of the groups "speech" and "images"."""
    return key(f"{name}/{group}", arm, gamma, seed)


def cells(roots: Mapping[str, Path]) -> list[Cell]:
    """Return all cells: the confirmatory ones, the grid, speech, images."""
    return [
        *(cell for setting in SETTINGS for cell in _confirmatory(setting, roots)),
        *_grid(SETTINGS[0], roots),
        *(cell for setting in SPEECH for cell in _speech(setting, roots)),
        *(cell for setting in IMAGES for cell in _images(setting, roots)),
    ]


def _confirmatory(setting: Setting, roots: Mapping[str, Path]) -> Iterator[Cell]:
    for seed in SEEDS:
        for arm, gamma in POINTS:
            yield Cell(
                key=key(setting.name, arm, gamma, seed),
                source=setting.name,
                overrides=(*_common(setting, roots), *_arm(arm, gamma, *CRITIC)),
                group="confirmatory",
                seed=seed,
            )


def _grid(setting: Setting, roots: Mapping[str, Path]) -> Iterator[Cell]:
    for gamma, rate, steps in ((0.0, *CRITIC), *GRID):
        yield Cell(
            key=grid_key(setting.name, gamma, rate, steps),
            source=setting.name,
            overrides=(
                *_common(setting, roots), *_arm("cmi" if gamma else "vae", gamma, rate, steps),
            ),
            group="grid",
            seed=GRID_SEED,
        )  # fmt: skip


def _speech(setting: Setting, roots: Mapping[str, Path]) -> Iterator[Cell]:
    tasks = f"tasks=[{', '.join(_speech_tasks(setting))}]"
    for seed in SPEECH_SEEDS:
        for arm, gamma in SPEECH_POINTS:
            yield Cell(
                key=group_key(setting.name, "speech", arm, gamma, seed),
                source=setting.source or setting.name,
                overrides=(*_given(setting, roots), tasks, *_arm(arm, gamma, *CRITIC)),
                group="speech",
                seed=seed,
            )


def _images(setting: Setting, roots: Mapping[str, Path]) -> Iterator[Cell]:
    tasks = f"tasks=[{', '.join(_image_tasks(setting))}]"
    for seed in IMAGE_SEEDS:
        for arm, gamma in IMAGE_POINTS:
            yield Cell(
                key=group_key(setting.name, "images", arm, gamma, seed),
                source=setting.source or setting.name,
                overrides=(*_given(setting, roots), tasks, *_image_arm(arm, gamma)),
                group="images",
                seed=seed,
            )


def _given(setting: Setting, roots: Mapping[str, Path]) -> tuple[str, ...]:
    given = () if setting.root is None else (f"data.root={roots[setting.root]}",)
    return (*given, *setting.overrides)


# Tasks -------------------------------------------------------------------------------------------


def _common(setting: Setting, roots: Mapping[str, Path]) -> tuple[str, ...]:
    by = f'average="{setting.average}"' if setting.average else None
    tasks = _TASKS % _MI
    if by:
        tasks = tasks.replace('"probe"', f'{{name="probe", {by}}}')
        tasks = tasks.replace('"verification"', f'{{name="verification", {by}}}')
    return (*_given(setting, roots), f"tasks={tasks}")


def _speech_tasks(setting: Setting) -> list[str]:
    by, few = setting.average, {"resamples": 200}
    tasks = [
        {"name": "probe", "labels": [setting.identity], "classifier": ["linear", "svm"],
         "average": by, "frames": 500, **few},
        {"name": "verification", "average": by},
        {"name": "verification", "label": "open", "protocol": "open", "average": by},
        {"name": "leakage", "content": setting.content, "utterance": by, "frames": 2000,
         "steps": 100, "reference": True, **few},
        {"name": "mcas", "labels": [setting.identity], "unit": by, **few},
        {"name": "swap-judge", "content": setting.content, "unit": by, "steps": 300, **few},
        {"name": "reconstruction", "pictures": 0, "sounds": 0, **few},
        {"name": "rates", **few},
        {"name": "input-information"},
    ]  # fmt: skip
    unit = f'unit="{by}", ' if by else ""
    information = f'{{name="mutual-information", {unit}null={setting.null}, {_MI}}}'
    return [*map(_inline, tasks), information]


def _image_tasks(setting: Setting) -> list[str]:
    few = {"resamples": 200}
    tasks = [
        {"name": "probe", "labels": [setting.identity], "classifier": ["linear"], "frames": 500,
         **few},
        {"name": "mcas", "sequences": 500, "permutations": 3, **few},
        {"name": "recovery", "places": 5000, "sequences": 300, **few},
        {"name": "reconstruction", "pictures": 0, **few},
        {"name": "rates", **few},
        {"name": "input-information"},
    ]  # fmt: skip
    return [*map(_inline, tasks), f'{{name="mutual-information", {_IMAGE_MI}}}']


def _inline(value: object) -> str:
    """Return plain data as one line of TOML, without the entries of a table that are None."""
    if isinstance(value, Mapping):
        pairs = (f"{name}={_inline(item)}" for name, item in value.items() if item is not None)
        return f"{{{', '.join(pairs)}}}"
    return json.dumps(value, ensure_ascii=False)


# Arms --------------------------------------------------------------------------------------------


def _arm(
    arm: str, gamma: float, rate: float, steps: int, *, network: str = "conv", width: int = 128
) -> tuple[str, ...]:
    """Return the overrides of one arm; the terms warm up as the KL does."""
    if arm == "vae":
        return ()
    if arm == "beta-vae":
        return (f"model.latents.z.kl.weight={1.0 - gamma:.6g}",)
    name = "mi-vae" if arm == "mi-vae" else "cmi"
    network = "mlp" if arm == "mi-vae" else network
    extra = ', negatives="shuffled"' if arm == "shuffled" else ""
    return (
        f'regularizers+={{name="{name}", weight={gamma:g}{extra}, '
        'schedule={name="linear", steps=160}, '
        f'critic={{name="{network}", width={width}, steps={steps}, '
        f"optimizer={{lr={rate:g}, betas=[0.5, 0.9]}}}}}}",
    )


def _image_arm(arm: str, gamma: float) -> tuple[str, ...]:
    """Return the overrides of an arm on images; the last three differ in what the critic sees."""
    narrow = ("model.decoder.feature_channels=2",) if arm == "cmi-bottleneck" else ()
    network = "location" if arm == "cmi-location" else "conv"
    name = "cmi" if arm.startswith("cmi") else arm
    return (*narrow, *_arm(name, gamma, *IMAGE_CRITIC, network=network, width=32))
