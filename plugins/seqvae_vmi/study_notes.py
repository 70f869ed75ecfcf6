"""What the page of the study of VMI says beside its numbers, each sentence from the records."""

from collections.abc import Mapping, Sequence
from statistics import mean

from seqvae_core.study import Record
from seqvae_tasks.contrasts import paired, verdict
from seqvae_vmi.study import ARMS, JOINT, KEPT, SEEDS, TEMPERATURES, Contrast
from seqvae_vmi.study_plot import Found, keys_of, values_of

__all__ = [
    "COLLAPSED", "H_OF_C", "MARK", "collapsed", "posterior_pairs", "selected", "speech",
    "stopped", "stopped_behind", "stopped_by_arm", "with_linear",
]  # fmt: skip

H_OF_C = "bound-c/posterior/c/entropy"
MARK = " †"
COLLAPSED = "† one value for all images: the KL says collapse here, not information"

_NEAR_0 = 0.1  # nats of H(c), of 2.3
_QS = {
    "bound-c/prior": "c, hard, prior",
    "bound-c/posterior": "c, hard, posterior",
    "bound-c/prior soft": "c, soft, prior",
    "bound-c/posterior soft": "c, soft, posterior",
    "bound-z/prior": "z[:2], prior",
    "bound-z/posterior": "z[:2], posterior",
}
_UNDERSTATES = "a Q that had not understates its bound"


def with_linear(record: Record) -> Record:
    """Return a record with the bound of linear Qs on all of z[:2] together, ".../joint/linear".

    They are those of its numbers, each alone: H(c) of all + Σ E[ln Q] of each.
    """
    figures = dict(record["figures"])
    for pairs in ("prior", "posterior"):
        start = f"bound-z/{pairs}"
        parts = [f"{start}/z[{number}]" for number in (0, 1)]
        needed = [f"{start}/joint/entropy"]
        needed += [f"{part}/{kind}" for part in parts for kind in ("linear", "entropy")]
        if all(name in figures for name in needed):
            scores = (figures[f"{part}/linear"] - figures[f"{part}/entropy"] for part in parts)
            figures[f"{start}/joint/linear"] = figures[f"{start}/joint/entropy"] + sum(scores)
    return {**record, "figures": figures}


# How far the Qs had come -------------------------------------------------------------------------


def _share(found: Found, keys: Sequence[str], reading: str) -> str:
    """Return in how many of some cells Q had stopped improving: "4 of 5"; "" of none."""
    values = values_of(found, keys, f"{reading}/converged")
    return f"{round(sum(values))} of {len(values)}" if values else ""


def stopped_by_arm(found: Found, arms: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a table: in how many cells of each arm Q had stopped improving, by reading."""
    rows = {title: [_share(found, keys, reading) for keys in arms.values()]
            for reading, title in _QS.items()}  # fmt: skip
    rows = {title: row for title, row in rows.items() if any(row)}
    if not rows:
        return []
    return [
        f"Q had stopped improving in so many of the readings; {_UNDERSTATES}. Of the readings over "
        "training, in the plots, it is not recorded.\n",
        f"| | {' | '.join(arms)} |",
        "|---" * (1 + len(arms)) + "|",
        *(f"| {title} | {' | '.join(row)} |" for title, row in rows.items()),
        "",
    ]


def stopped(found: Found, keys: Sequence[str]) -> list[str]:
    """Return a sentence: in how many of some cells Q had stopped improving, by reading."""
    shares = {title: _share(found, keys, reading) for reading, title in _QS.items()}
    parts = [f"{share} ({title})" for title, share in shares.items() if share]
    if not parts:
        return []
    lower = sum(
        linear > trained
        for pairs in ("prior", "posterior")
        for trained, linear in _both(found, keys, pairs)
    )
    count = sum(len(_both(found, keys, pairs)) for pairs in ("prior", "posterior"))
    more = f" In {lower} of {count} the linear Q reads more of z[:2] than the trained one."
    return [f"Q had stopped improving in {', '.join(parts)}; {_UNDERSTATES}.{more}\n"]


def stopped_behind(found: Found, contrasts: Sequence[Contrast]) -> list[str]:
    """Return a sentence: in how many of the bounds that are tested Q had stopped improving."""
    values = [
        value
        for contrast in contrasts
        if contrast.figure.startswith("bound-")
        for arm in (contrast.arm, "vanilla")
        for value in values_of(
            found,
            keys_of(arm, contrast.temperature),
            f"{contrast.figure.rpartition('/')[0]}/converged",
        )
    ]
    if not values:
        return []
    share = f"{round(sum(values))} of {len(values)}"
    return [f"Q had stopped improving in {share} of the bounds of this table; {_UNDERSTATES}.\n"]


def _both(found: Found, keys: Sequence[str], pairs: str) -> list[tuple[float, float]]:
    """Return the bounds on z[:2] by the trained and by the linear Q, of the cells with both."""
    figures = [found[name]["figures"] for name in keys if name in found]
    names = f"bound-z/{pairs}/joint", f"bound-z/{pairs}/joint/linear"
    return [
        (each[names[0]], each[names[1]])
        for each in figures
        if all(name in each for name in names)
    ]  # fmt: skip


# What the codes hold -----------------------------------------------------------------------------


def collapsed(found: Found, keys: Sequence[str]) -> bool:
    """Tell whether c has one value for all images in every one of some cells."""
    values = values_of(found, keys, H_OF_C)
    return bool(values) and max(values) < _NEAR_0


def posterior_pairs(found: Found) -> list[str]:
    """Say what the two bounds with H(c) kept are of, where there are both."""
    keys = keys_of(KEPT, "fixed")
    bounds = [values_of(found, keys, f"bound-c/{pairs}/c") for pairs in ("posterior", "prior")]
    if not all(bounds):
        return []
    posterior, prior = (f"{mean(values):.3g}" for values in bounds)
    return [
        f"Of pairs from the posterior the bound on one-hot c is {posterior} nats here, of pairs "
        f"from the prior {prior}. The latter is what the decoder shows of c, for c is then "
        "independent of z. The former is what c and the reconstruction share, possibly all of it "
        "by way of z, which holds x too: with H(c) kept and pairs from the posterior the encoder "
        "alone can satisfy the term.\n"
    ]


def selected(found: Found) -> list[str]:
    """Say what the bound on z[:2] is in each arm of the joint model."""
    parts = []
    for arm, temperature in JOINT:
        both = _both(found, keys_of(arm, temperature), "prior")
        if both:
            value = mean(max(pair) for pair in both)
            parts.append(f"{value:.3g} ({ARMS[arm]}, {TEMPERATURES[temperature]})")
    if not parts:
        return []
    return [
        "z[:2] beside c, at a weight of 0.1, is not tested: by the better of the trained and the "
        f"linear Q its bound of pairs from the prior is {', '.join(parts)} nats.\n"
    ]


def speech(found: Found, columns: Mapping[str, str]) -> list[str]:
    """Say by how much VMI moves the speaker into the two numbers, where both arms have seeds."""
    start = "japanese-vowels/vmi/"
    shared = [
        name.removeprefix(start)
        for name in found
        if name.startswith(start) and name.replace("/vmi/", "/vanilla/") in found
    ]
    if len(shared) < 2:
        return []
    tests = {}
    for title, figure in list(columns.items())[:3]:
        one, other = (
            values_of(found, [f"japanese-vowels/{arm}/{name}" for name in shared], figure)
            for arm in ("vmi", "vanilla")
        )
        tests[title] = paired([a - b for a, b in zip(one, other, strict=True)])
    inside, outside, *_ = tests.values()
    said = "not all seeds are there"
    if len(shared) == len(SEEDS):
        said = f"p = {inside.p:.2g}, {verdict(inside, inside.p, 'above 0')}"
    rest = "z[2:] is not seen to change"
    if outside.low > 0.0 or outside.high < 0.0:
        rest = f"z[2:] holds {'more' if outside.low > 0.0 else 'less'} than without"
    return [
        f"VMI - VAE over {len(shared)} seeds. One contrast is tested, that of z[:2], claimed to be "
        "above 0; it was fixed when three of the seeds had been seen.\n",
        *(
            f"- {title}: {test.difference:+.3f} [{test.low:+.3f}, {test.high:+.3f}]"
            for title, test in tests.items()
        ),
        "",
        f"That VMI concentrates the speaker in z[:2]: {said}; {rest}. The bound is of pairs from "
        "the posterior: what z[:2] and the reconstruction share.\n",
    ]
