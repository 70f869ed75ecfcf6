"""What `seqvae data` prints of a description."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from seqvae_core.cli.printing import print_rows

__all__ = ["print_description"]

_ROWS = 12  # classes or channels to name before the rest are only counted

Found = Mapping[str, Any]


def print_description(found: Found) -> None:
    """Print what `seqvae_core.describe.describe` returns."""
    for line in _lines(found):
        click.echo(line)
    print_rows([_part_row(name, part) for name, part in found["parts"].items()], False)
    print_rows(_value_rows(found), False)
    train = found["parts"]["train"]
    known = "training" if train["read"] == train["sequences"] else "what was read of training"
    for name, label in found["labels"].items():
        if label["family"] == "class":
            click.echo(_class_title(name, label, known))
            if not _identifies(label):
                print_rows(_class_rows(label), False)
    if numbers := [row for name, label in found["labels"].items() for row in _ranges(name, label)]:
        click.echo("labels that are numbers:")
        print_rows(numbers, False)


def _lines(found: Found) -> Iterator[str]:
    """Yield the sentences above the tables; those about faults only where there are any."""
    yield f"data: {found['data']['name']}"
    for name, fact in found["facts"].items():
        yield f"{name}: {fact}"
    yield f"frame: {_frame(found['frame'])}"
    yield f"padding: {_padding(found['padding'])}"
    constant = found["values"]["trained"]["constant"]
    if constant:
        yield f"constant on train: channel {_listed(constant)}"
    for name, part in found["parts"].items():
        yield from _faults(name, part)


def _faults(name: str, part: Found) -> Iterator[str]:
    sequences = part["sequences"]
    if part["read"] < sequences:
        yield (f"{name}: values and labels are those of {part['read']} of {sequences} sequences, "
               "drawn at random (--limit)")  # fmt: skip
    if part["lengths"]["known"] < sequences:
        yield (f"{name}: frames and memory are estimated from the lengths of "
               f"{part['lengths']['known']} of {sequences} sequences")  # fmt: skip
    if bad := part["not_finite"]["values"]:
        where = f"{_some(part['not_finite']['sequences'])}, {part['not_finite']['first']} first"
        yield f"{name}: {bad} values are NaN or infinite, in {where}; training refuses them"
    if bad := part["unusable"]["sequences"]:
        yield f"{name}: {_some(bad)} cannot be used; {part['unusable']['first']}"


def _some(sequences: int) -> str:
    return f"{sequences} sequence{'s' if sequences != 1 else ''}"


def _listed(values: list[Any]) -> str:
    more = f", ... and {len(values) - _ROWS} more" if len(values) > _ROWS else ""
    return ", ".join(map(str, values[:_ROWS])) + more


def _frame(shape: list[int]) -> str:
    channels = f"{shape[0]} channel{'s' if shape[0] > 1 else ''}"
    return channels if len(shape) == 1 else f"{channels} of {' × '.join(map(str, shape[1:]))}"


def _padding(padding: Found) -> str:
    size, bucket = padding["batch_size"], padding["bucket"]
    if padding["plain"] is None:
        return f"unknown, there are fewer than train.batch_size = {size} training sequences"
    if not padding["plain"]:
        return "none, all sequences are equally long"
    plain, bucketed = f"{padding['plain']:.1%}", f"{padding['bucketed']:.1%}"
    if padding["bucketed_in_training"]:
        return f"{bucketed} of a batch of {size}; {plain} without train.bucket = {bucket}"
    return f"{plain} of a batch of {size}; {bucketed} with train.bucket = {bucket}"


# Tables ------------------------------------------------------------------------------------------


def _part_row(name: str, part: Found) -> dict[str, Any]:
    lengths = part["lengths"]
    return {
        "part": name, "sequences": part["sequences"], "share": f"{part['share']:.1%}",
        "frames": part["frames"], "shortest": lengths["min"], "median": lengths["median"],
        "longest": lengths["max"], "in memory": _size(part["bytes"]),
    }  # fmt: skip


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"


def _value_rows(found: Found) -> list[dict[str, Any]]:
    titles = {"trained": "as trained on", "restored": "as they came"}
    return [
        {"values of train": titles[name], **_rounded(values)}
        for name, values in found["values"].items() if values
    ]  # fmt: skip


def _rounded(values: Found) -> dict[str, float | None]:
    """Return the numbers with a mean that is 0 but for rounding as 0."""
    shown = {key: values[key] for key in ("min", "mean", "max", "std")}
    if shown["std"] and abs(shown["mean"]) < 1e-6 * shown["std"]:
        shown["mean"] = 0.0
    return shown


def _identifies(label: Found) -> bool:
    return label["scope"] == "global" and all(
        sum(count.values()) == 1 for count in label["counts"].values()
    )


def _class_title(name: str, label: Found, known: str) -> str:
    unit = ", each once" if _identifies(label) else ""
    if label["scope"] == "local":
        unit = ", counted in frames"
    overlaps = [
        f"{other} {part['seen_in_training'] or 'none'} of {part['classes']}"
        for other, part in label["parts"].items() if other != "train" and part["classes"]
    ]  # fmt: skip
    seen = f"; classes seen in {known}: {', '.join(overlaps)}" if overlaps else ""
    return f"{name}: {label['scope']}, {label['classes']} classes{unit}{seen}"


def _class_rows(label: Found) -> list[dict[str, Any]]:
    counts = list(label["counts"].items())
    rows = [{"class": name, **count} for name, count in counts[:_ROWS]]
    if rest := counts[_ROWS:]:
        sums = {part: sum(count[part] for _, count in rest) for part in label["parts"]}
        rows.append({"class": f"... and {len(rest)} more", **sums})
    missing = {name: part["missing"] for name, part in label["parts"].items()}
    return [*rows, {"class": "(missing)", **missing}] if any(missing.values()) else rows


def _ranges(name: str, label: Found) -> list[dict[str, Any]]:
    if label["family"] == "class":
        return []
    keys = ("count", "missing", "min", "mean", "max")
    return [
        {"label": name, "scope": label["scope"], "part": other, **{key: part[key] for key in keys}}
        for other, part in label["parts"].items()
    ]
