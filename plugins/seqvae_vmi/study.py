"""The study of VMI: its cells, and what is tested on them, both fixed beforehand."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from seqvae_core.study import Cell, Record, Study

__all__ = [
    "ARMS", "CONTRASTS", "GROUPS", "JOINT", "KEPT", "KEPT_CONTRASTS", "LOOKS", "PUBLISHED_STEPS",
    "RATE", "SEEDS", "STEPS", "STUDY", "TEMPERATURES", "Contrast", "key",
]  # fmt: skip

STEPS, PUBLISHED_STEPS = 800, 150_000
LOOKS = 4  # at the bound over training, evenly spaced, the last behind the last step
RATE = 1.5e-5 * PUBLISHED_STEPS / STEPS  # of the published annealing, over fewer steps
SEEDS, GRID_SEED = (1, 2, 3, 4, 5), 1
KEPT = "vmi-entropy"  # VMI with H(c), which the published loss drops
ARMS = {"vanilla": "VAE", "vmi": "VMI", KEPT: "VMI with H(c)"}
TEMPERATURES = {"fixed": "τ = 1", "annealed": "τ annealed"}
JOINT = (
    ("vanilla", "fixed"), ("vmi", "fixed"), (KEPT, "fixed"),
    ("vanilla", "annealed"), ("vmi", "annealed"),
)  # fmt: skip
GROUPS = {
    "confirmatory": "Joint MNIST: 16 Gaussian latents and a 10-way code",
    "entropy": "Joint MNIST with H(c) kept in the term, at τ = 1",
    "gaussian": "Gaussian MNIST: 2 of 32 latents selected",
    "speech": "Japanese Vowels: 2 of 16 numbers of z selected",
}

# The published networks at half their widths, the published loss, and a faster rate.
_NETWORKS = (
    "model.backbone.channels=[32, 64]", "model.backbone.hidden=256",
    "model.decoder.hidden=[256]", "model.decoder.start=32", "model.decoder.channels=[16]",
    "train.batch_size=64", "train.optimizer.lr=1e-3",
)  # fmt: skip
_CRITIC = (
    "regularizers.vmi.critic.channels=[32, 64]", "regularizers.vmi.critic.hidden=64",
    "regularizers.vmi.critic.optimizer.lr=1e-3",
)  # fmt: skip
_SHORT = (
    "data.root={root}", f"train.steps={STEPS}", f"train.checkpoint_every={STEPS // LOOKS}",
    f"train.keep={LOOKS}", f"train.valid_every={STEPS}", "train.log_every=10",
)  # fmt: skip
_BOUND = "count=2500, held_out=2000, steps=600, check_every=50, patience=3"
# One Q for c alone: what stops its training is then the loss of c.
_TASKS = (
    f'tasks=[{{name="vmi-bound", label="bound-c", codes=["c"], linear=false, {_BOUND}}}, '
    f'{{name="vmi-bound", label="bound-z", codes=["z[:2]"], pairs=["prior"], samples=["hard"], '
    f"{_BOUND}}}, "
    '{name="unsupervised-classification", labels=["digit"], resamples=200}, '
    '{name="rates", resamples=200}]'
)
_GRID_TASKS = (
    f'tasks=[{{name="vmi-bound", label="bound-z", codes=["z[:2]"], {_BOUND}}}, '
    '{name="rates", resamples=200}, '
    '{name="traverse", codes=["z[:2]"], start="prior"}]'
)
_SPEECH_TASKS = (
    'tasks=[{name="probe", labels=["speaker"], codes=["z[:2]", "z[2:]"], classifier=["linear"], '
    'frames=500, resamples=200}, {name="rates", resamples=200}, {name="vmi-bound", '
    'label="bound-z", codes=["z[:2]"], pairs=["posterior"], count=1000, '
    "held_out=500, steps=300, check_every=25}]"
)
_SPEECH_TERM = (
    'regularizers+={name="vmi", weight=1.0, codes=["z[:2]"], pairs="posterior", '
    'critic={name="recurrent", hidden=64, depth=1, optimizer={lr=1e-3}}}'
)


@frozen(kw_only=True)
class Contrast:
    """An arm minus the VAE over `SEEDS`, claimed to be above 0.

    Attributes:
        title: of the quantity.
        figure: its name among a record's figures.
        arm: what is compared with the VAE.
        temperature: of both.
    """

    title: str
    figure: str
    arm: str
    temperature: str


_CLAIMS = {
    "bound on I(c; x̃), one-hot c from the prior, nats": "bound-c/prior/c",
    "KL of c, nats": "rates/kl/c",
    "accuracy by majority on test digits": "unsupervised-classification/digit/c/majority",
}


def _contrasts(arm: str, temperatures: Sequence[str]) -> tuple[Contrast, ...]:
    return tuple(
        Contrast(title=title, figure=figure, arm=arm, temperature=temperature)
        for temperature in temperatures
        for title, figure in _CLAIMS.items()
    )


CONTRASTS = _contrasts("vmi", tuple(TEMPERATURES))
# Of our own making, a family of its own.
KEPT_CONTRASTS = _contrasts(KEPT, ("fixed",))


def key(data: str, arm: str, variant: str, seed: int) -> str:
    """Return the key of a cell; a group without variants has none."""
    return "/".join(part for part in (data, arm, variant, f"seed-{seed}") if part)


def _cells(roots: Mapping[str, Path]) -> list[Cell]:
    root = roots["mnist"]
    return [
        *(_joint(root, *variant, seed) for seed in SEEDS for variant in JOINT),
        *_gaussian(root),
        *_speech(),
    ]


def _joint(root: Path, arm: str, temperature: str, seed: int) -> Cell:
    kept = ('regularizers.vmi.entropy="kept"',) if arm == KEPT else ()
    return Cell(
        key=key("mnist", arm, temperature, seed),
        source="mnist-joint-vmi",
        overrides=(
            *_images(root, arm),
            *kept,
            f'model.latents.c.categorical.temperature={{name="{temperature}", rate={RATE:g}}}',
            _TASKS,
        ),
        group="entropy" if arm == KEPT else "confirmatory",
        seed=seed,
    )


def _gaussian(root: Path) -> Iterator[Cell]:
    for arm in ("vanilla", "vmi"):
        yield Cell(
            key=key("mnist-gaussian", arm, "", GRID_SEED),
            source="mnist-vmi",
            overrides=(*_images(root, arm), _GRID_TASKS),
            group="gaussian",
            seed=GRID_SEED,
        )


def _images(root: Path, arm: str) -> tuple[str, ...]:
    short = tuple(text.replace("{root}", str(root)) for text in _SHORT)
    return (*short, *_NETWORKS, *(("regularizers=[]",) if arm == "vanilla" else _CRITIC))


def _speech() -> Iterator[Cell]:
    for seed in SEEDS:
        for arm in ("vanilla", "vmi"):
            yield Cell(
                key=key("japanese-vowels", arm, "", seed),
                source="japanese-vowels",
                overrides=(*([_SPEECH_TERM] if arm == "vmi" else []), _SPEECH_TASKS),
                group="speech",
                seed=seed,
            )


def _page(records: Sequence[Record], folder: Path) -> None:
    from seqvae_vmi.study_page import write

    write(records, folder)


def _measure(run: Path) -> Mapping[str, float]:
    from seqvae_vmi.study_measure import measure

    return measure(run)


def _pictures(run: Path) -> Mapping[str, bytes]:
    from seqvae_vmi.study_measure import pictures

    return pictures(run)


STUDY = Study(
    name="vmi",
    summary="what VMI does to a code of ten values, to two Gaussian latents, and to z of speech",
    reference="Serdega, Kim 2020, MI and KL over training, unsupervised classification; steps, "
    "widths and seeds are ours",
    roots={"mnist": "folder of MNIST's four IDX files, whole or a subset"},
    cells=_cells,
    page=_page,
    measure=_measure,
    pictures=_pictures,
)
