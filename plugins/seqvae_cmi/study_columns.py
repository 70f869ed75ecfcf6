"""What stands in the tables of the study of CMI: figures of the records, and baselines."""

from collections.abc import Mapping

from attrs import frozen

__all__ = [
    "BASELINES",
    "CONFIRMATORY",
    "CRITICS",
    "IMAGES",
    "IMAGE_BASELINES",
    "MODEL",
    "SPEECH",
    "Baselines",
    "Column",
]


@frozen
class Column:
    """A figure of the records.

    Attributes:
        title: of the column; it may hold fields, as `figure` does.
        figure: its name, with a field for what a row reads it off, {z}, {s}, {frame} or {whole},
            and for what differs among data sets, {by}, {identity} or {content}.
        scale: in which it is shown.
        star: a figure; where it is not 0 a star stands behind the value.
    """

    title: str
    figure: str
    scale: float = 1.0
    star: str = ""


Baselines = Mapping[str, tuple[str, Mapping[str, str]]]

MODEL = {"z": "z", "s": "pooled s", "frame": "s per frame", "whole": "s"}
_WITHOUT = "s adversarially without {identity}"
BASELINES: Baselines = {  # title: whose records, what stands for z, pooled s, s_t and s_1:T
    "mean of frames; frames": ("vae", {"z": "mean of frames", "frame": "frames",
                                       "whole": "frames"}),
    "mean and std of frames": ("vae", {"z": "mean and std of frames"}),
    "principal components": ("vae", {
        "z": "mean of frames, pca {p}", "s": "pooled frames, pca {q}",
        "frame": "frames, pca {q}", "whole": "frames, pca {q}",
    }),
    "untrained encoder": ("vae", {"z": "untrained z", "s": "untrained pooled s",
                                  "frame": "untrained s per frame", "whole": "untrained s"}),
    "cmi, frames in random order": ("cmi", {"z": "z of shuffled frames"}),
    "cmi, s kept from {identity} with labels": ("cmi", {
        "s": f"pooled {_WITHOUT}", "frame": f"{_WITHOUT} per frame", "whole": _WITHOUT,
    }),
}  # fmt: skip
IMAGE_BASELINES: Baselines = {
    "pixels": ("vae", {"z": "mean of frames"}),
    **{name: BASELINES[name] for name in ("principal components", "untrained encoder")},
}

_EER = (
    Column("EER of z, %", "verification/eer/{z}{by}", 100.0),
    Column("EER of s, %", "verification/eer/{s}{by}", 100.0),
)
_SPEAKER = (
    Column("{identity} from z, %", "probe/{identity}/{z}{by}/linear", 100.0),
    Column("{identity} from s, %", "probe/{identity}/{s}{by}/linear", 100.0),
)
_KL_Z = Column("KL(z)", "rates/kl/z")
_KL_S = Column("KL(s) a frame", "rates/kl/s per frame")
_ELBO = Column("ELBO a frame", "rates/elbo per frame")
_MSE = Column("MSE", "reconstruction/mse")
_SATURATED = "input-information/saturated/z"
_I_XZ = Column("I(x;z)", "input-information/mi/z", star=_SATURATED)
_I_ZS = Column("I(z;s)", "mutual-information/mi")
_MCAS = (
    Column("mCAS, %", "mcas/{identity}/mcas", 100.0),
    Column("its floor", "mcas/{identity}/floor", 100.0),
    Column("real data", "mcas/{identity}/real", 100.0),
)
_LN_N = Column("ln N of train", "rates/ln N")
_CRITIC = (
    Column("critic's accuracy", "last/{term}/critic/accuracy"),
    Column("mean logit", "last/{term}/mean_logit"),
    Column("KL(z) - mean logit", "last/{term}/rate_gap"),
)
CONFIRMATORY = (*_EER, *_SPEAKER, _KL_Z, _KL_S, _ELBO, _MSE, _I_ZS)
CRITICS = (*_CRITIC, _KL_Z, _I_ZS, *_EER)
SPEECH = {
    "Who speaks": (
        *_EER,
        Column("EER of z, open, %", "open/eer/{z}{by}", 100.0),
        Column("EER of s, open, %", "open/eer/{s}{by}", 100.0),
        *_SPEAKER,
        Column("{identity} from z, SVM, %", "probe/{identity}/{z}{by}/svm", 100.0),
        Column("{identity} from s_t, %", "leakage/{identity}/{frame}/linear", 100.0),
        Column("{identity} from s_1:T, GRU, %", "leakage/{identity}/{whole}/gru", 100.0),
    ),
    "What is said": (
        Column("{content} from s_t, %", "leakage/{content}/{frame}/linear", 100.0),
        Column("by an MLP, %", "leakage/{content}/{frame}/mlp", 100.0),
        Column("{content} from z, %", "leakage/{content}/{z}/linear", 100.0),
        Column("chance of {content}", "leakage/{content}/chance", 100.0),
    ),
    "What the decoder makes of them": (
        *_MCAS,
        Column("swapped, judged as b, %", "swap-judge/swapped/identity of b", 100.0),
        Column("judged as a, %", "swap-judge/swapped/identity of a", 100.0),
        Column("content of a kept, %", "swap-judge/swapped/content of a", 100.0),
        Column("of a real", "swap-judge/real/content of a", 100.0),
        _MSE,
    ),
    "Nats": (
        _ELBO, _KL_Z, _KL_S, _I_XZ, _I_ZS,
        Column("its null", "mutual-information/null"), Column("p", "mutual-information/p"),
        *_CRITIC, _LN_N,
    ),
}  # fmt: skip
IMAGES = {
    "What z and s tell": (
        Column("AoLR: {identity} from z, %", "probe/{identity}/{z}/linear", 100.0),
        Column("{identity} from s, %", "probe/{identity}/{s}/linear", 100.0),
        *_MCAS,
        Column("R² of x from z", "recovery/{z}/whole sequence"),
        Column("from s, next pixel's", "recovery/{whole}/next place"),
        Column("from s, 3 × 3", "recovery/{whole}/neighbourhood"),
    ),
    "Nats": (
        Column("ELBO", "rates/elbo"),
        Column("nats of x given z", "reconstruction/nats per frame"),
        _KL_Z, _I_XZ, _I_ZS, *_CRITIC, _LN_N,
    ),
}  # fmt: skip
