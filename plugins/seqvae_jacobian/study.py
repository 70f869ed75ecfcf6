"""The study of Jacobian L1: its cells, and what is tested on them, both fixed beforehand."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from attrs import frozen

from seqvae_core.study import Cell, Record, Study, drawn

__all__ = [
    "ARMS",
    "CONTRASTS",
    "FEW",
    "GROUPS",
    "IDENTITY",
    "PICTURED",
    "RADII",
    "RISES",
    "SEEDS",
    "STEPS",
    "STUDY",
    "Arm",
    "Contrast",
]

# of the presets, and in short: steps, and steps of annealing
STEPS = {"three-dots": 2500, "three-dots-long": 30000}
RISES = {"three-dots": 1000, "three-dots-long": 10000, "timit": 160, "sprites": 160}
SEEDS = (1, 2, 3, 4, 5)
FEW = (1, 2)
PICTURED = 1  # the seed whose columns are drawn, of these groups
DRAWN = ("confirmatory", "long", "estimator", "smooth", "speech", "sprites")
RADII = (0.1, 0.2, 0.3, 0.6, 1.0)
POINTS = 3000

_PENALTY = (
    'regularizers+={name="%s", weight=%g, latent="z", '
    'schedule={name="linear", steps=%d}%s}'
)  # fmt: skip


def _dots(data: str, every: int) -> tuple[str, ...]:
    return (
        f"train.steps={STEPS[data]}",
        f"train.checkpoint_every={min(STEPS[data], 5000)}",
        f"train.valid_every={every}",
        f"model.latents.z.kl.schedule.steps={RISES[data]}",
        f'tasks=["rates", "reconstruction", {{name="local-disentanglement", points={POINTS}}}, '
        '{name="local-disentanglement", label="fresh", radii=[0.1], fresh=true, '
        f'points={POINTS}}}, {{name="jacobian-columns", items=64}}]',
    )


# The label that z should hold, by data.
IDENTITY = {"timit": "speaker", "sprites": "hair"}
_ATTRIBUTES = (
    'tasks=["rates", "reconstruction", "mig", "dci", {name="jacobian-columns", items=64}, '
    '{name="probe", labels=["%(of)s"], resamples=200}, {name="swap-judge", identity="%(of)s"}]'
)
_PATTERN = r"(?P<dialect>DR\d)/(?P<speaker>(?P<sex>[FM])\w+)/(?P<sentence>\w+)\.WAV"
_SHARED = {
    "three-dots": _dots("three-dots", 500),
    "three-dots-long": _dots("three-dots-long", 2000),
    "timit": (
        f"data.pattern='{_PATTERN}'",
        'data.labels=["speaker", "sex", "dialect"]',
        _ATTRIBUTES % {"of": IDENTITY["timit"]},
    ),
    "sprites": (_ATTRIBUTES % {"of": IDENTITY["sprites"]},),
}


@frozen(kw_only=True)
class Arm:
    """One way to train.

    Attributes:
        key: in the cells' keys.
        title: in the tables.
        group: what it is for.
        data: which data, and for how long; those that are on disk have a root of that name.
        preset: its source.
        overrides: beside those that all arms share.
        seeds: of its cells.
    """

    key: str
    title: str
    group: str
    data: str = "three-dots"
    preset: str = "three-dots-beta-vae"
    overrides: tuple[str, ...] = ()
    seeds: tuple[int, ...] = FEW


def _penalty(
    name: str, gamma: float, settings: str = "", data: str = "three-dots"
) -> tuple[str, ...]:
    return (_PENALTY % (name, gamma, RISES[data], settings),)


def _jl1(settings: str) -> tuple[str, ...]:
    return _penalty("jacobian-l1", 0.1, f", {settings}")


_GELU = "model.decoder.activation=gelu"

GROUPS = {
    "confirmatory": "β = 4: the β-VAE, Jacobian L1 and L2 at γ = 0.1",
    "long": "The same for 30,000 steps",
    "gamma": "Other γ",
    "estimator": "Jacobian L1 at γ = 0.1 by other estimators",
    "smooth": "With a smooth decoder, GELU in the place of ReLU",
    "beta": "The β-VAE at other β, to be compared at equal ELBO",
    "baselines": "Other regularizers",
    "speech": "The global latent of speech: a DSAE on TIMIT, with the penalty on z",
    "sprites": "The global latent of video: a DSAE on Sprites, with the penalty on z",
}

ARMS = (
    Arm(key="beta-vae", title="β-VAE", group="confirmatory", seeds=SEEDS),
    Arm(key="jl1", title="JL1, γ = 0.1", group="confirmatory", seeds=SEEDS,
        overrides=_penalty("jacobian-l1", 0.1)),
    Arm(key="jl2", title="JL2, γ = 0.1", group="confirmatory", seeds=SEEDS,
        overrides=_penalty("jacobian-l2", 0.1)),
    Arm(key="long-beta-vae", title="β-VAE, 30,000 steps", group="long", seeds=SEEDS,
        data="three-dots-long"),
    *(Arm(key=f"long-{short}", title=f"{short.upper()}, γ = 0.1, 30,000 steps", group="long",
          seeds=SEEDS, data="three-dots-long",
          overrides=_penalty(name, 0.1, data="three-dots-long"))
      for short, name in (("jl1", "jacobian-l1"), ("jl2", "jacobian-l2"))),
    *(Arm(key=f"jl1-{gamma:g}", title=f"JL1, γ = {gamma:g}", group="gamma",
          overrides=_penalty("jacobian-l1", gamma)) for gamma in (0.05, 0.2, 0.4)),
    Arm(key="jl2-0.4", title="JL2, γ = 0.4", group="gamma",
        overrides=_penalty("jacobian-l2", 0.4)),
    Arm(key="forward", title="autodiff, 1 column", group="estimator",
        overrides=_jl1('method="forward"')),
    Arm(key="fine", title="ε = 0.001, 1 column", group="estimator",
        overrides=_jl1("epsilon=0.001")),
    Arm(key="half", title="ε = 0.1, 1 column of half of the batch", group="estimator",
        overrides=_jl1("rows=32")),
    Arm(key="published", title="ε = 0.001, all columns (published)", group="estimator",
        overrides=_jl1("epsilon=0.001, columns=0")),
    Arm(key="gelu-beta-vae", title="β-VAE, GELU", group="smooth", overrides=(_GELU,)),
    Arm(key="gelu-jl1", title="ε = 0.1, 1 column, GELU", group="smooth",
        overrides=(_GELU, *_penalty("jacobian-l1", 0.1))),
    Arm(key="gelu-forward", title="autodiff, 1 column, GELU", group="smooth",
        overrides=(_GELU, *_jl1('method="forward"'))),
    *(Arm(key=f"beta-{beta}", title=f"β-VAE, β = {beta}", group="beta",
          overrides=(f"model.latents.z.kl.weight={beta}",)) for beta in (6, 8)),
    *(Arm(key=name, title=title, group="baselines", preset=f"three-dots-{name}")
      for name, title in (("factor-vae", "FactorVAE, γ = 30"), ("beta-tcvae", "β-TCVAE, β = 4"),
                          ("dip-vae-i", "DIP-VAE-I"), ("dip-vae-ii", "DIP-VAE-II"))),
    Arm(key="annealed-vae", title="AnnealedVAE, C = 25", group="baselines",
        preset="three-dots-annealed-vae",
        overrides=(f"regularizers.annealed-vae.rise.steps={RISES['three-dots']}",)),
    *(Arm(key=f"z-{data}-{gamma:g}", group=group, data=data, preset=data,
          title=f"JL1, γ = {gamma:g}" if gamma else "no penalty",
          overrides=_penalty("jacobian-l1", gamma, data=data) if gamma else ())
      for data, group, gammas in (("timit", "speech", (0.0, 0.1, 0.3)),
                                  ("sprites", "sprites", (0.0, 0.1)))
      for gamma in gammas),
)  # fmt: skip


@frozen(kw_only=True)
class Contrast:
    """A difference of two arms over `SEEDS` that the paper gives a direction, or says is none.

    Attributes:
        title: of the quantity.
        figure: its name among a record's figures.
        arms: the difference is the first minus the second.
        claimed: by the paper.
    """

    title: str
    figure: str
    arms: tuple[str, str]
    claimed: Literal["above 0", "none"]


def _contrasts(start: str) -> tuple[Contrast, ...]:
    """Return what is tested of three arms whose keys start so."""
    beta_vae, jl1, jl2 = (f"{start}{arm}" for arm in ("beta-vae", "jl1", "jl2"))
    mig, modularity = (f"local-disentanglement/{score}/" for score in ("mig", "modularity"))
    return (
        Contrast(title="local MIG, ρ = 0.1", figure=f"{mig}0.1",
                 arms=(jl1, beta_vae), claimed="above 0"),
        Contrast(title="local modularity, ρ = 0.1", figure=f"{modularity}0.1",
                 arms=(jl1, beta_vae), claimed="above 0"),
        Contrast(title="local MIG, ρ = 1", figure=f"{mig}1",
                 arms=(jl1, beta_vae), claimed="none"),
        Contrast(title="local MIG, ρ = 0.1", figure=f"{mig}0.1",
                 arms=(jl2, beta_vae), claimed="none"),
    )  # fmt: skip


# by group
CONTRASTS = {"confirmatory": _contrasts(""), "long": _contrasts("long-")}


def _cells(roots: Mapping[str, Path]) -> list[Cell]:
    return [cell for arm in ARMS for cell in _of(arm, roots)]


def _of(arm: Arm, roots: Mapping[str, Path]) -> Iterator[Cell]:
    root = (f"data.root={roots[arm.data]}",) if arm.data in STUDY.roots else ()
    for seed in arm.seeds:
        yield Cell(
            key=f"{arm.data}/{arm.key}/seed-{seed}",
            source=arm.preset,
            overrides=(*root, *_SHARED[arm.data], *arm.overrides),
            group=arm.group,
            seed=seed,
        )


def _page(records: Sequence[Record], folder: Path) -> None:
    from seqvae_jacobian.study_page import write

    write(records, folder)


def _pictures(run: Path) -> Mapping[str, bytes]:
    """Return z's columns of one seed's decoder, by its arm."""
    pictured = {arm.key for arm in ARMS if arm.group in DRAWN}
    if run.name != f"seed-{PICTURED}" or run.parent.name not in pictured:
        return {}
    found = drawn(run, "jacobian-columns", "z: ")
    return {f"columns-{run.parent.name}": picture for picture in found}


STUDY = Study(
    name="jacobian",
    summary="local disentanglement of three dots by Jacobian L1, its estimators and baselines; "
    "the global latent of speech and video",
    reference="Rhodes, Lee 2021, three-dots; estimator, steps, seeds and sequences are ours",
    roots={
        "timit": "TIMIT's folders, or a part of them, with TRAIN/DR1/...",
        "sprites": "the Sprites clips, as the preset sprites takes them",
    },
    cells=_cells,
    page=_page,
    pictures=_pictures,
)
