"""The study of CMI: which cells are trained, and what is tested on them, both fixed beforehand."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from attrs import frozen

from seqvae_core.study import Cell, Study

__all__ = ["ARMS", "CONTRASTS", "GAMMAS", "SETTINGS", "STUDY", "Contrast", "Setting"]

ARMS = ("beta-vae", "mi-vae", "shuffled", "cmi")
GAMMAS = (0.5, 0.9)
SEEDS = range(1, 11)
CRITIC = (5e-4, 4)  # learning rate, and steps for each step of the model
GRID_GAMMAS = (0.2, 0.4, 0.6, 0.8, 0.9)
GRID_CRITICS = ((1e-4, 1), (5e-4, 1), (5e-4, 4), (1e-3, 4))
GRID_SEED = 101

_TASKS = '["probe", "verification", "reconstruction", "rates", {name="mutual-information", %s}]'
_MI = (
    'estimator={name="density-ratio", steps=600, batch_size=64, check_every=20, patience=5, '
    'critic={name="conv", width=64, optimizer={lr=1e-3}}}'
)


@frozen(kw_only=True)
class Setting:
    """One data set of the study.

    Attributes:
        name: of the preset.
        root: which of the study's roots it needs, if any.
        average: the label over which sequences are averaged, if they are segments.
        content: a local label, if there is one.
        overrides: of all its cells.
    """

    name: str
    root: str | None = None
    average: str | None = None
    content: str | None = None
    overrides: tuple[str, ...] = ()


SETTINGS = (
    Setting(name="japanese-vowels"),
    Setting(name="timit", root="timit", average="utterance"),
)


@frozen(kw_only=True)
class Contrast:
    """A difference of two arms, averaged over `GAMMAS`, that the paper gives a direction.

    Attributes:
        title: of the quantity.
        figure: its name among a record's figures, without the suffix of an average.
        arms: the difference is the first minus the second.
        claimed: the sign of the difference by the paper, or by the analysis that it rests on.
    """

    title: str
    figure: str
    arms: tuple[str, str]
    claimed: Literal["below 0", "above 0"]


CONTRASTS = (
    Contrast(title="EER of z", figure="verification/eer/z", arms=("cmi", "beta-vae"),
             claimed="below 0"),
    Contrast(title="EER of s", figure="verification/eer/pooled s", arms=("cmi", "beta-vae"),
             claimed="above 0"),
    Contrast(title="I(z;s)", figure="mutual-information/mi", arms=("cmi", "mi-vae"),
             claimed="below 0"),
)  # fmt: skip


def _cells(roots: Mapping[str, Path]) -> list[Cell]:
    return [cell for setting in SETTINGS for cell in (*_confirmatory(setting, roots),
                                                      *_grid(setting, roots))]  # fmt: skip


def _confirmatory(setting: Setting, roots: Mapping[str, Path]) -> Iterator[Cell]:
    for seed in SEEDS:
        for arm, gamma in [("vae", 0.0), *((arm, gamma) for gamma in GAMMAS for arm in ARMS)]:
            yield Cell(
                key=f"{setting.name}/{arm}/{gamma:g}/seed-{seed}",
                source=setting.name,
                overrides=(*_common(setting, roots), *_arm(arm, gamma, *CRITIC)),
                group="confirmatory",
                seed=seed,
            )


def _grid(setting: Setting, roots: Mapping[str, Path]) -> Iterator[Cell]:
    for gamma in GRID_GAMMAS:
        for rate, steps in GRID_CRITICS:
            yield Cell(
                key=f"{setting.name}/grid/{gamma:g}/lr-{rate:g}-steps-{steps}",
                source=setting.name,
                overrides=(*_common(setting, roots), *_arm("cmi", gamma, rate, steps)),
                group="grid",
                seed=GRID_SEED,
            )


def _common(setting: Setting, roots: Mapping[str, Path]) -> tuple[str, ...]:
    given = () if setting.root is None else (f"data.root={roots[setting.root]}",)
    by = f'average="{setting.average}"' if setting.average else None
    tasks = _TASKS % _MI
    if by:
        tasks = tasks.replace('"probe"', f'{{name="probe", {by}}}')
        tasks = tasks.replace('"verification"', f'{{name="verification", {by}}}')
    return (*given, *setting.overrides, f"tasks={tasks}")


def _arm(arm: str, gamma: float, rate: float, steps: int) -> tuple[str, ...]:
    """Return the overrides of one arm; the terms warm up as the KL does."""
    if arm == "vae":
        return ()
    if arm == "beta-vae":
        return (f"model.latents.z.kl.weight={1.0 - gamma:.6g}",)
    name = "mi-vae" if arm == "mi-vae" else "cmi"
    network = "mlp" if arm == "mi-vae" else "conv"
    extra = ', negatives="shuffled"' if arm == "shuffled" else ""
    return (
        f'regularizers+={{name="{name}", weight={gamma:g}{extra}, '
        'schedule={name="linear", steps=160}, '
        f'critic={{name="{network}", width=128, steps={steps}, '
        f"optimizer={{lr={rate:g}, betas=[0.5, 0.9]}}}}}}",
    )


def _page(records: object, folder: Path) -> None:
    from seqvae_cmi.study_page import write

    write(records, folder)  # type: ignore[arg-type]


STUDY = Study(
    name="cmi",
    summary="the 2×2 of {KL(q(z)‖p(z))} × {I(z;s)} against γ, ten seeds, and a grid of critics",
    reference="Akuzawa, Iwasawa, Matsuo 2021, speech; the design and the settings are ours",
    roots={"timit": "TIMIT in the LDC layout, or its public sample"},
    cells=_cells,
    page=_page,
)
