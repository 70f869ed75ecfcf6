"""The study of influential factors: its cells, and what is tested on them, fixed beforehand."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from attrs import frozen

from seqvae_core.study import Cell, Record, Study

__all__ = ["CONTRASTS", "SEEDS", "SETTINGS", "SHOWN", "STUDY", "Contrast", "Setting"]

SEEDS = (1, 2, 3, 4, 5)
SHOWN = 24  # factors of the sandwich plot


@frozen(kw_only=True)
class Setting:
    """One data set, and what is asked of it.

    Attributes:
        name: in the cells' keys.
        title: on the page.
        source: its preset.
        factors: whose they are, as `factor-selection` names them.
        label: what is told from them.
        root: the name of the root of its data; None if it needs none.
        overrides: beside the tasks.
        tasks: as TOML.
    """

    name: str
    title: str
    source: str
    factors: str
    label: str
    root: str | None = None
    overrides: tuple[str, ...] = ()
    tasks: tuple[Mapping[str, Any], ...]


def _tasks(
    latent: str, label: str, *more: Mapping[str, Any], influence: Mapping[str, Any] | None = None,
    **selection: Any,
) -> tuple[Mapping[str, Any], ...]:  # fmt: skip
    by = ["mi", "closed-form", "kl", "variance", "active-units", "random"]
    return (
        {"name": "influence", "latent": latent, "labels": [label], **(influence or {})},
        {"name": "factor-selection", "latent": latent, "labels": [label], "by": by, "items": 300,
         "pictures": 0, **selection},
        {"name": "rates", "resamples": 200},
        {"name": "reconstruction", "pictures": 0, "sounds": 0, "resamples": 200},
        *more,
    )  # fmt: skip


SETTINGS = (
    Setting(
        name="mnist", title="MNIST", source="mnist-influence-short", factors="z", label="digit",
        root="mnist", overrides=("data.limit_test=4000",),
        tasks=_tasks(
            "z", "digit",
            {"name": "fano-bound", "labels": ["digit"], "keep": [13, 7, 4, 2], "posteriors": 1500},
            {"name": "reconstruction-bound", "keep": [13, 7, 4, 2], "posteriors": 500},
            influence={"posteriors": 2000, "norms": 32, "decoded_pairs": 2000},
            draws=3, retrained_draws=1,
        ),
    ),
    Setting(
        name="japanese-vowels", title="Japanese Vowels: z of the DSAE", source="japanese-vowels",
        factors="z", label="speaker", tasks=_tasks("z", "speaker"),
    ),
    Setting(
        name="timit", title="TIMIT: z of the DSAE", source="timit", factors="z", label="speaker",
        root="timit", tasks=_tasks("z", "speaker", unit="utterance"),
    ),
    Setting(
        name="eeg-smni", title="EEG: factors of frames, read by a GRU",
        source="eeg-smni-influence", factors="s per frame", label="subject", root="eeg-smni",
        overrides=("train.steps=1000",),
        tasks=_tasks(
            "s", "subject", influence={"posteriors": 4000}, reader="recurrent", keep=[16, 8, 4, 2],
            by=["mi", "closed-form", "variance", "active-units", "random"], draws=3,
            retrained_draws=1,
        ),
    ),
)  # fmt: skip


@frozen(kw_only=True)
class Contrast:
    """A difference over `SEEDS` of two rankings of factors, at one number of factors kept.

    Attributes:
        setting: its name.
        title: of the quantity.
        figure: with a place for the ranking.
        rankings: the difference is that by the first minus that by the second.
        claimed: "above 0", "below 0", or "none".
        scale: of what is shown, 100 for accuracies in %.
    """

    setting: str
    title: str
    figure: str
    rankings: tuple[str, str]
    claimed: Literal["above 0", "below 0", "none"]
    scale: float = 100.0


CONTRASTS = (
    Contrast(setting="mnist", title="accuracy of 7 factors, the rest zeroed, %",
             figure="factor-selection/zeroed/z/digit/%s/7", rankings=("mi", "random"),
             claimed="above 0"),
    Contrast(setting="mnist", title="accuracy of 7 factors, retrained, %",
             figure="factor-selection/retrained/z/digit/%s/7", rankings=("mi", "random"),
             claimed="above 0"),
    Contrast(setting="mnist", title="accuracy of 7 factors, the rest zeroed, %",
             figure="factor-selection/zeroed/z/digit/%s/7", rankings=("mi", "kl"),
             claimed="none"),
    Contrast(setting="mnist", title="squared error of 7 factors", scale=1.0,
             figure="factor-selection/mse/z/%s/7", rankings=("mi", "random"), claimed="below 0"),
    Contrast(setting="japanese-vowels", title="accuracy of 4 factors, retrained, %",
             figure="factor-selection/retrained/z/speaker/%s/4", rankings=("mi", "random"),
             claimed="above 0"),
    Contrast(setting="timit", title="accuracy of 4 factors, retrained, %",
             figure="factor-selection/retrained/z/speaker/%s/4", rankings=("mi", "random"),
             claimed="above 0"),
    Contrast(setting="eeg-smni", title="accuracy of 4 factors, retrained, %",
             figure="factor-selection/retrained/s per frame/subject/%s/4",
             rankings=("mi", "random"), claimed="above 0"),
)  # fmt: skip


def _cells(roots: Mapping[str, Path]) -> list[Cell]:
    return [cell for setting in SETTINGS for cell in _of(setting, roots)]


def _of(setting: Setting, roots: Mapping[str, Path]) -> Iterator[Cell]:
    given = () if setting.root is None else (f"data.root={roots[setting.root]}",)
    tasks = ", ".join(_inline(task) for task in setting.tasks)
    for seed in SEEDS:
        yield Cell(
            key=f"{setting.name}/seed-{seed}",
            source=setting.source,
            overrides=(*given, *setting.overrides, f"tasks=[{tasks}]"),
            group=setting.name,
            seed=seed,
        )


def _inline(value: Any) -> str:
    """Return plain data as one line of TOML."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}={_inline(item)}' for name, item in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)


def measure(run: Path) -> dict[str, float]:
    """Return the first factors' sandwich, and of all the sum of closed forms and √v's extremes."""
    content = json.loads((run / "evaluation" / "influence.json").read_text(encoding="utf-8"))
    found: dict[str, float] = {}
    for title, rows in content["tables"].items():
        name, colon, what = title.partition(": ")
        if not colon or what != "factors":
            continue
        spread = [row["√v"] for row in rows]
        found |= {f"sqrt v/{name}/least": min(spread), f"sqrt v/{name}/largest": max(spread)}
        forms = [row["zero mean"] for row in rows]
        if None not in forms:
            found[f"closed form/{name}"] = sum(forms)
        for rank, row in enumerate(rows[:SHOWN]):
            for column in ("I_M", "standard error", "leave-one-out", "free mean", "zero mean",
                           "decoded: I(z_h; x̃)"):  # fmt: skip
                if row.get(column) is not None:
                    found[f"sandwich/{name}/{rank}/{column}"] = row[column]
    return found


def _page(records: Sequence[Record], folder: Path) -> None:
    from seqvae_influence.study_page import write

    write(records, folder)


STUDY = Study(
    name="influence",
    summary="how many factors of a VAE are influential, and what they alone are good for",
    reference="Liu et al. 2020, MNIST's figure and table, EEG; data, steps and seeds are ours",
    roots={
        "mnist": "the folder of MNIST's four IDX files, all of them or a part",
        "timit": "TIMIT, or a part of it in its folders",
        "eeg-smni": "UCI's EEG Database, or a part of it",
    },
    cells=_cells,
    page=_page,
    measure=measure,
)
