"""The study of CMI: what is compared, on which data, and what is tested, fixed beforehand."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from attrs import frozen

from seqvae_core.study import Cell, Record, Study

__all__ = [
    "AIMS",
    "ARMS",
    "CONTRASTS",
    "CRITIC",
    "GAMMAS",
    "GRID",
    "GRID_SEED",
    "IMAGES",
    "IMAGE_ARMS",
    "IMAGE_CRITIC",
    "IMAGE_POINTS",
    "IMAGE_SEEDS",
    "POINTS",
    "SEEDS",
    "SETTINGS",
    "SPEECH",
    "SPEECH_POINTS",
    "SPEECH_SEEDS",
    "STUDY",
    "Aim",
    "Contrast",
    "Setting",
]

ARMS = ("beta-vae", "mi-vae", "shuffled", "cmi")
IMAGE_ARMS = ("beta-vae", "mi-vae", "cmi", "cmi-location", "cmi-bottleneck")
GAMMAS = (0.5, 0.9)
_VAE = ("vae", 0.0)
POINTS = (_VAE, *((arm, gamma) for gamma in GAMMAS for arm in ARMS))
SPEECH_POINTS = (_VAE, *((arm, GAMMAS[0]) for arm in ARMS))
IMAGE_POINTS = (_VAE, *((arm, gamma) for gamma in GAMMAS for arm in IMAGE_ARMS))
CRITIC = (5e-4, 4)  # learning rate, and steps for each step of the model
IMAGE_CRITIC = (5e-4, 1)
GRID = tuple(
    (gamma, rate, steps)
    for gamma in (0.2, 0.4, 0.6, 0.8, 0.9)
    for rate, steps in ((1e-4, 1), (5e-4, 1), (5e-4, 4), (1e-3, 4))
)
SEEDS, SPEECH_SEEDS, IMAGE_SEEDS, GRID_SEED = range(1, 11), range(1, 3), range(1, 3), 101

_IMAGE_MODEL = (
    "model.decoder.channels=16", "model.decoder.blocks=1", "model.decoder.first_kernel=5",
    'model.latents.z.kl={weight=1.0, schedule={name="linear", steps=160}}',
    "data.limit=3000", "data.limit_test=1000",
    "train.batch_size=32", "train.steps=600", "train.optimizer.lr=2e-3",
)  # fmt: skip


@frozen(kw_only=True)
class Setting:
    """One data set of the study.

    Attributes:
        name: of its section, and of its cells.
        source: the preset, where that is not the name.
        root: which of the study's roots it needs, if any.
        average: the label over which sequences are averaged, if they are segments.
        identity: the global label that z should tell.
        content: a local label, if there is one.
        components: how many principal components stand beside z and beside s.
        null: how often I(z;s) is estimated anew with permuted sequences, in the group "speech".
        overrides: of all its cells.
    """

    name: str
    source: str | None = None
    root: str | None = None
    average: str | None = None
    identity: str = "speaker"
    content: str | None = None
    components: tuple[int, int] = (16, 16)
    null: int = 0
    overrides: tuple[str, ...] = ()


SETTINGS = (
    Setting(name="japanese-vowels", components=(12, 4)),
    Setting(name="timit", root="timit", average="utterance"),
)
SPEECH = (
    Setting(name="japanese-vowels", components=(12, 4), null=19),
    Setting(name="fsdd-strings", root="fsdd", average="utterance", content="digit",
            overrides=("data.segment=70", "train.batch_size=16", "train.steps=400")),
    Setting(name="timit", source="timit-phones", root="timit", average="utterance",
            content="phone", overrides=('data.split_by="sentence"',)),
)  # fmt: skip
IMAGES = (
    Setting(name="mnist", source="mnist-pixelcnn", root="mnist", identity="digit",
            components=(32, 16), overrides=_IMAGE_MODEL),
    Setting(name="fashion-mnist", source="mnist-pixelcnn", root="fashion", identity="class",
            components=(32, 16), overrides=("data.corpus=fashion-mnist", *_IMAGE_MODEL)),
)  # fmt: skip


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


@frozen(kw_only=True)
class Aim:
    """What a model of speech should reach, in the mean over seeds.

    Attributes:
        title: what is asked.
        figure: a record's figure.
        wanted: the relation of the figure to what it is held against.
        against: a number, or another figure of the same cells.
        of: the arm whose figure it is held against, where that is not the same cells'.
        factor: of what it is held against.
        scale: in which both are shown.
    """

    title: str
    figure: str
    wanted: Literal[">=", ">", "<="]
    against: str | float
    of: str | None = None
    factor: float = 1.0
    scale: float = 100.0


AIMS = {
    "timit": (
        Aim(title="speaker from z, %, not below that from the mean of frames",
            figure="probe/speaker/z{by}/linear", wanted=">=",
            against="probe/speaker/mean of frames{by}/linear"),
        Aim(title="phone from s_t, %, above that from 16 principal components of the frame",
            figure="leakage/phone/s per frame/linear", wanted=">",
            against="leakage/phone/frames, pca 16/linear"),
        Aim(title="EER of z, %, open protocol, at most 10", figure="open/eer/z{by}",
            wanted="<=", against=0.10),
        Aim(title="MSE at most 1.05 times that of γ = 0", figure="reconstruction/mse",
            wanted="<=", against="reconstruction/mse", of="vae", factor=1.05, scale=1.0),
    ),
}  # fmt: skip


def _cells(roots: Mapping[str, Path]) -> list[Cell]:
    from seqvae_cmi.study_cells import cells

    return cells(roots)


def _page(records: Sequence[Record], folder: Path) -> None:
    from seqvae_cmi.study_page import write

    write(records, folder)


STUDY = Study(
    name="cmi",
    summary="the 2×2 of {KL(q(z)‖p(z))} × {I(z;s)} against γ, ten seeds; a grid of critics; "
    "more readings on speech, and images",
    reference="Akuzawa, Iwasawa, Matsuo 2021; the design and the settings are ours",
    roots={
        "timit": "TIMIT in the LDC layout, or its public sample",
        "fsdd": "recordings of the Free Spoken Digit Dataset",
        "mnist": "the four IDX files of MNIST, or its first 6000 training images",
        "fashion": "the four IDX files of Fashion-MNIST",
    },
    cells=_cells,
    page=_page,
)
