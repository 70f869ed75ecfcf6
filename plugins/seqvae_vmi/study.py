"""The study of VMI: its cells, and what is tested on them, both fixed beforehand."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from seqvae_core.study import Cell, Record, Study

__all__ = [
    "ARMS", "CONTRASTS", "GROUPS", "LOOKS", "SEEDS", "SPEECH_SEEDS", "STEPS", "STUDY",
    "TEMPERATURES", "Contrast", "key",
]  # fmt: skip

STEPS, PUBLISHED_STEPS = 800, 150_000
LOOKS = 4  # at the bound over training, evenly spaced, the last behind the last step
RATE = 1.5e-5 * PUBLISHED_STEPS / STEPS  # of the published annealing, over fewer steps
SEEDS, SPEECH_SEEDS, GRID_SEED = (1, 2, 3, 4, 5), (1, 2, 3), 1
ARMS = {"vanilla": "VAE", "vmi": "VMI"}
TEMPERATURES = {"fixed": "τ = 1", "annealed": "τ annealed"}
GROUPS = {
    "confirmatory": "Joint MNIST: 16 Gaussian latents and a 10-way code",
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
_BOUND = "count=2500, held_out=2000, steps=400, check_every=50, patience=3"
_TASKS = (
    f'tasks=[{{name="vmi-bound", codes=["z[:2]", "c"], {_BOUND}}}, '
    '{name="unsupervised-classification", labels=["digit"], resamples=200}, '
    '{name="rates", resamples=200}]'
)
_GRID_TASKS = (
    f'tasks=[{{name="vmi-bound", codes=["z[:2]"], {_BOUND}}}, {{name="rates", resamples=200}}, '
    '{name="traverse", codes=["z[:2]"], start="prior"}]'
)
_SPEECH_TASKS = (
    'tasks=[{name="probe", labels=["speaker"], codes=["z[:2]", "z[2:]"], classifier=["linear"], '
    'frames=500, resamples=200}, {name="rates", resamples=200}, {name="vmi-bound", '
    'codes=["z[:2]"], pairs=["posterior"], count=1000, held_out=500, steps=300, check_every=25}]'
)
_SPEECH_TERM = (
    'regularizers+={name="vmi", weight=1.0, codes=["z[:2]"], pairs="posterior", '
    'critic={name="recurrent", hidden=64, depth=1, optimizer={lr=1e-3}}}'
)


@frozen(kw_only=True)
class Contrast:
    """VMI minus the VAE over `SEEDS`, that the paper claims to be above 0.

    Attributes:
        title: of the quantity.
        figure: its name among a record's figures.
        temperature: of both arms.
    """

    title: str
    figure: str
    temperature: str


CONTRASTS = tuple(
    Contrast(title=title, figure=figure, temperature=temperature)
    for temperature in TEMPERATURES
    for title, figure in (
        ("bound on I(c; x̃), one-hot c from the prior, nats", "vmi-bound/prior/c"),
        ("KL of c, nats", "rates/kl/c"),
        ("accuracy by majority on test digits",
         "unsupervised-classification/digit/c/majority"),
    )
)  # fmt: skip


def key(data: str, arm: str, variant: str, seed: int) -> str:
    """Return the key of a cell; a group without variants has none."""
    return "/".join(part for part in (data, arm, variant, f"seed-{seed}") if part)


def _cells(roots: Mapping[str, Path]) -> list[Cell]:
    return [*_joint(roots["mnist"]), *_gaussian(roots["mnist"]), *_speech()]


def _joint(root: Path) -> Iterator[Cell]:
    for seed in SEEDS:
        for temperature in TEMPERATURES:
            for arm in ARMS:
                yield Cell(
                    key=key("mnist", arm, temperature, seed),
                    source="mnist-joint-vmi",
                    overrides=(
                        *_images(root, arm),
                        "model.latents.c.categorical.temperature="
                        f'{{name="{temperature}", rate={RATE:g}}}',
                        _TASKS,
                    ),
                    group="confirmatory",
                    seed=seed,
                )


def _gaussian(root: Path) -> Iterator[Cell]:
    for arm in ARMS:
        yield Cell(
            key=key("mnist-gaussian", arm, "", GRID_SEED),
            source="mnist-vmi",
            overrides=(*_images(root, arm), _GRID_TASKS),
            group="gaussian",
            seed=GRID_SEED,
        )


def _images(root: Path, arm: str) -> tuple[str, ...]:
    short = tuple(text.replace("{root}", str(root)) for text in _SHORT)
    return (*short, *_NETWORKS, *(_CRITIC if arm == "vmi" else ("regularizers=[]",)))


def _speech() -> Iterator[Cell]:
    for seed in SPEECH_SEEDS:
        for arm in ARMS:
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
