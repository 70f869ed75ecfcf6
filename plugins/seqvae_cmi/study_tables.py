"""The tables of the study of CMI, section by section, from its records."""

import math
import operator
import re
from collections.abc import Mapping, Sequence
from statistics import mean

from attrs import Factory, frozen

from seqvae_cmi.study import (
    AIMS,
    GRID,
    IMAGE_POINTS,
    IMAGE_SEEDS,
    POINTS,
    SPEECH_POINTS,
    SPEECH_SEEDS,
    Aim,
    Setting,
)
from seqvae_cmi.study_cells import grid_key, group_key
from seqvae_cmi.study_columns import (
    BASELINES,
    CONFIRMATORY,
    CRITICS,
    IMAGE_BASELINES,
    IMAGES,
    MODEL,
    SPEECH,
    Baselines,
    Column,
)
from seqvae_cmi.study_contrasts import Runs
from seqvae_core.study import Record
from seqvae_tasks.contrasts import spread

__all__ = ["Row", "aims", "confirmatory", "grid", "images", "speech", "table"]

Found = Mapping[str, Record]
Points = Mapping[tuple[str, float], tuple[str, ...]]  # arm and γ → keys


@frozen
class Row:
    """The cells of a line, which differ in their seeds.

    Attributes:
        labels: in front of the figures.
        keys: of the cells.
        names: what the fields of figures stand for; a figure with another field is left out.
        baseline: whether only figures that name a representation are shown.
    """

    labels: tuple[str, ...]
    keys: tuple[str, ...]
    names: Mapping[str, str] = Factory(dict)
    baseline: bool = False


# Sections ----------------------------------------------------------------------------------------


def confirmatory(runs: Runs) -> list[str]:
    """Return the figures of all arms at all γ, beside the baselines."""
    points = {point: runs.keys(*point) for point in POINTS}
    rows = [*_rows(runs.setting, points), *_baselines(runs.setting, points, BASELINES)]
    return [
        f"Mean ± standard deviation over seeds {runs.seeds[0]} to {runs.seeds[-1]}.\n",
        *table(("γ", "arm"), rows, CONFIRMATORY, runs.found),
        *_made(rows, runs.found),
    ]


def grid(setting: Setting, found: Found) -> list[str]:
    """Return CMI over γ and the critic's training."""
    rows = [Row(("0", "", ""), (grid_key(setting.name, 0.0, 0.0, 0),), _names(setting, "vae"))]
    rows += [Row((f"{gamma:g}", f"{rate:g}", f"{steps}"),
                 (grid_key(setting.name, gamma, rate, steps),), _names(setting, "cmi"))
             for gamma, rate, steps in GRID]  # fmt: skip
    lines = table(("γ", "learning rate", "steps"), rows, CRITICS, found)
    title = "### CMI over γ and the critic's training: one seed, descriptive\n"
    return [title, *lines, *_made(rows, found)] if lines else []


def speech(setting: Setting, found: Found) -> list[str]:
    """Return what else is read off the arms, at one γ."""
    return _readings(setting, _speech(setting), SPEECH, BASELINES, found)


def images(setting: Setting, found: Found) -> list[str]:
    """Return the arms on images."""
    points = {
        point: tuple(group_key(setting.name, "images", *point, seed) for seed in IMAGE_SEEDS)
        for point in IMAGE_POINTS
    }
    return _readings(setting, points, IMAGES, IMAGE_BASELINES, found)


def aims(setting: Setting, found: Found) -> list[str]:
    """Return what models of this data set should reach, and whether each arm does."""
    points, wanted = _speech(setting), AIMS.get(setting.name, ())
    if not wanted or not all(key in found for keys in points.values() for key in keys):
        return []
    names = _names(setting, "")
    figures = {arm: [found[key]["figures"] for key in keys] for (arm, _), keys in points.items()}
    heads = [f"{arm}, γ = {gamma:g}" for arm, gamma in points]
    lines = [
        "### Aims: means over seeds, not tested\n",
        f"| aim | {' | '.join(heads)} |",
        "|---" * (1 + len(heads)) + "|",
    ]
    for aim in wanted:
        cells = [_reached(aim, arm, figures, names) for arm in figures]
        lines.append(f"| {aim.title} | {' | '.join(cells)} |")
    return [*lines, ""]


def _reached(
    aim: Aim,
    arm: str,
    figures: Mapping[str, Sequence[Mapping[str, float]]],
    names: Mapping[str, str],
) -> str:
    def average(of: str, figure: str) -> float:
        return mean(each[figure.format_map(names)] for each in figures[of])

    value = average(arm, aim.figure)
    if aim.of == arm:
        return f"{aim.scale * value:.3g}"
    against = aim.against if isinstance(aim.against, float) else average(aim.of or arm, aim.against)
    against *= aim.factor
    relation = {">=": operator.ge, ">": operator.gt, "<=": operator.le}[aim.wanted]
    verdict = "met" if relation(value, against) else "not met"
    return f"{aim.scale * value:.3g} against {aim.scale * against:.3g}: **{verdict}**"


def _readings(
    setting: Setting, points: Points, tables: Mapping[str, Sequence[Column]], baselines: Baselines,
    found: Found,
) -> list[str]:  # fmt: skip
    arms = _rows(setting, points)
    rows = [*arms, *_baselines(setting, points, baselines)]
    lines: list[str] = []
    for title, columns in tables.items():
        if made := table(("γ", "arm"), rows, columns, found):
            lines += [f"{title}:\n", *made, ""]
    if not lines:
        return []
    seeds = max(sum(key in found for key in keys) for keys in points.values())
    head = f"### Descriptive: {seeds} seed{'s' if seeds > 1 else ''}\n"
    star = ["\\* saturated: within a nat of ln N of the test part, not to be compared.\n"]
    return [head, *lines, *(star if any(" \\*" in line for line in lines) else []),
            *_made(arms, found)]  # fmt: skip


def _speech(setting: Setting) -> Points:
    return {
        point: tuple(group_key(setting.name, "speech", *point, seed) for seed in SPEECH_SEEDS)
        for point in SPEECH_POINTS
    }


def _rows(setting: Setting, points: Points) -> list[Row]:
    return [Row((f"{gamma:g}", arm), keys, _names(setting, arm))
            for (arm, gamma), keys in points.items()]  # fmt: skip


def _names(setting: Setting, arm: str) -> dict[str, str]:
    """Return what the fields of figures stand for in an arm's row."""
    names = {**MODEL, "identity": setting.identity,
             "by": f" by {setting.average}" if setting.average else ""}  # fmt: skip
    if setting.content:
        names["content"] = setting.content
    if arm not in ("", "vae", "beta-vae"):
        names["term"] = "mi-vae" if arm == "mi-vae" else "cmi"
    return names


def _baselines(setting: Setting, points: Points, baselines: Baselines) -> list[Row]:
    """Return a row for each baseline, from the cells of its arm at the smallest γ."""
    plain = {name: text for name, text in _names(setting, "").items() if name not in MODEL}
    p, q = map(str, setting.components)
    rows = []
    for title, (arm, names) in baselines.items():
        filled = {name: text.format(p=p, q=q, **plain) for name, text in names.items()}
        keys = next(keys for (of, _), keys in points.items() if of == arm)
        labels = ("", title.format(**plain))
        rows.append(Row(labels, keys, {**plain, **filled}, baseline=True))
    return rows


# Making them -------------------------------------------------------------------------------------


def table(
    heads: Sequence[str], rows: Sequence[Row], columns: Sequence[Column], found: Found
) -> list[str]:
    """Return a table in Markdown without its empty columns and lines, nothing if all are."""
    texts = [[_text(row, column, found) for column in columns] for row in rows]
    kept = [i for i in range(len(columns)) if any(line[i] for line in texts)]
    if not kept:
        return []
    titles = [columns[i].title.format_map(rows[0].names) for i in kept]
    lines = [f"| {' | '.join((*heads, *titles))} |", "|---" * (len(heads) + len(kept)) + "|"]
    for row, line in zip(rows, texts, strict=True):
        if any(line):
            lines.append(f"| {' | '.join((*row.labels, *(line[i] for i in kept)))} |")
    return lines


def _text(row: Row, column: Column, found: Found) -> str:
    fields = set(re.findall(r"{(\w+)}", column.figure))
    if not fields <= row.names.keys() or (row.baseline and fields.isdisjoint(MODEL)):
        return ""
    name = column.figure.format_map(row.names)
    figures = [found[key]["figures"] for key in row.keys if key in found]
    values = [column.scale * each[name] for each in figures if name in each]
    if not values:
        return ""
    starred = any(each.get(column.star) for each in figures)
    return spread(values) + (" \\*" if starred else "")


def _made(rows: Sequence[Row], found: Found) -> list[str]:
    """Return a line on what it took, and from how many training sequences."""
    records = [found[key] for row in rows for key in row.keys if key in found]
    sizes = {round(math.exp(each["figures"]["rates/ln N"]))
             for each in records if "rates/ln N" in each["figures"]}  # fmt: skip
    trained = ""
    if sizes:
        span = f"{min(sizes)} to {max(sizes)}" if len(sizes) > 1 else f"{min(sizes)}"
        trained = f"{span} training sequences; "
    hardware = dict.fromkeys(
        ", ".join(f"{name} {value}" for name, value in each["hardware"].items()) for each in records
    )
    seconds = spread([each["cpu_seconds"] for each in records])
    return [f"\n{trained}{seconds} processor seconds a cell; {'; '.join(hardware)}.\n"]
