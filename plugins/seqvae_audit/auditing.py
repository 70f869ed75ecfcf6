"""`audit`: one call from two functions and some data to a verdict, a record and a page."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import torch
from attrs import evolve, field, frozen
from torch import Tensor, nn

from seqvae_audit.asking import asked, run
from seqvae_audit.callables import Callables, callables_of
from seqvae_audit.decoded import top, use_of
from seqvae_audit.drawn import figures
from seqvae_audit.encoded import encode as encode_all
from seqvae_audit.encoded import read_factors
from seqvae_audit.material import Material, Part, gather, given
from seqvae_audit.options import Options
from seqvae_audit.page import check_place, render
from seqvae_audit.record import Findings, record
from seqvae_audit.trial import attempt, one_length
from seqvae_audit.verdict import Factor, Verdict, judge, keeping
from seqvae_audit.wrapped import wrap
from seqvae_core.errors import ConfigError, DataError
from seqvae_core.files import write_atomic
from seqvae_core.loading import collate, data_shapes
from seqvae_core.model import seeded
from seqvae_core.pictures import available
from seqvae_core.plugins import Plugins
from seqvae_core.records import Batch, Noise
from seqvae_tasks.sequences import choose, read

__all__ = ["Audit", "audit", "examine"]

_TRIAL = 64  # inputs of the first batch

Watch = Callable[[str], None]


@frozen(eq=False, kw_only=True)
class Audit:
    """What an audit found.

    Attributes:
        content: plain data, as `audit.json` has it.
        verdict: which factors matter.
        findings: all of it, in tensors.
        x: inputs that were decoded, (N, T, *frame).
        template: the mean z.
    """

    content: Mapping[str, Any] = field(repr=False)
    verdict: Verdict
    findings: Findings = field(repr=False)
    x: Tensor = field(repr=False)
    template: Tensor = field(repr=False)

    @cached_property
    def figures(self) -> dict[str, bytes]:
        """PNG bytes by title, drawn when asked for; none without matplotlib."""
        if not available():
            return {}
        found = self.findings
        with seeded(found.material.seed, "figures"), found.callables.evaluating():
            return figures(found, self.x, self.template)

    def html(self) -> str:
        """Return the page; raise `PluginError` if jinja2 is not installed."""
        return render(self.findings, self.content, self.figures)

    def json(self) -> str:
        """Return `content` as text."""
        return json.dumps(self.content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def write(self, folder: str | Path) -> Path:
        """Write `audit.json`, then `audit.html`, into a folder, each whole or not at all.

        Raises:
            CheckpointError: if the disk refuses.
            PluginError: if jinja2 is not installed; the record is there then.
        """
        folder = Path(folder)
        write_atomic(folder / "audit.json", self.json())
        write_atomic(folder / "audit.html", self.html())
        return folder / "audit.html"


def audit(
    *,
    data: Any,
    encode: Callable[[Any], Any] | None = None,
    decode: Callable[[Any], Any] | None = None,
    model: Any = None,
    module: nn.Module | Iterable[nn.Module] = (),
    out: str | Path | None = None,
    options: Options | None = None,
    tasks: Sequence[Any] | None = None,
    part: Part | None = None,
    time: bool | None = None,
    device: str | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    plugins: Plugins | None = None,
    watch: Watch = lambda line: None,
) -> Audit:
    """Audit a VAE that was trained elsewhere, given two functions of it.

    Its modules run in evaluation mode without gradients, and are then as they were.

    Args:
        data: an array (N, *frame) or (N, T, *frame), a dict of `x` and labels, `Splits`, or the
            name of a preset or file, as on the command line.
        encode: from x to mean and ln σ², see `seqvae_audit.protocol`.
        decode: from z to the mean of x.
        model: in their place: what has both, a pair of them, a model of pythae or diffusers.
        module: what `encode` and `decode` hide, to be set to evaluation mode too. Their own, and
            those that a function names, are seen.
        out: a folder for `audit.json` and `audit.html`; nothing is written if None.
        options: how much is read, and where the lines are drawn.
        tasks: registered tasks as plain data, such as ["probe"]; the standard ones if None.
        part: of the data, that is read; "test", but all of an array, if None.
        time: whether x has an axis of time; None to see by its axes.
        device: where to run; where the model is if None.
        seed: of all draws; the data's own, else 0, if None.
        overrides: of a preset's or file's data, such as "data.root=faces".
        plugins: all installed ones if None.
        watch: called with what is being done.

    Raises:
        SeqVAEError: one line: what was got, what was expected.

    Example:
        >>> import torch
        >>> x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> found = audit(
        ...     encode=lambda x: (0.8 * x, torch.full_like(x, -1.0)),
        ...     decode=lambda z: 1.25 * z,
        ...     data=x,
        ...     tasks=[],
        ... )
        >>> found.verdict.of("matters")
        (0, 1)
    """
    modules: list[Any] = [module]
    if isinstance(module, Iterable) and not isinstance(module, nn.Module):
        modules = list(module)
    _check_arguments(modules, options, part, seed)
    if out is not None:
        check_place(Path(out))
    if model is not None and encode is None and decode is None:
        callables = callables_of(model, type(model).__name__)
        callables = evolve(callables, modules=(*callables.modules, *modules))
    elif model is None and encode is not None and decode is not None:
        callables = Callables.of(encode, decode, modules=modules)
    else:
        raise ConfigError("expected encode and decode, or model in place of both")
    plugins = plugins or Plugins.load()
    if isinstance(data, (str, Path)):
        settings: dict[str, Any] = {"overrides": overrides, "part": part, "time": time}
        material = gather(data, plugins, seed=seed, **settings)
    elif overrides:
        raise ConfigError("overrides are of a preset's or a file's data; these are at hand")
    else:
        material = given(data, part=part, time=time, seed=seed or 0)
    if tasks is not None:
        material = evolve(material, tasks=tasks)
    found = examine(
        evolve(callables, device=device), material, options or Options(), plugins, watch=watch
    )
    if out is not None:
        found.write(out)
    return found


def _check_arguments(modules: list[Any], options: Any, part: Any, seed: Any) -> None:
    parts = get_args(Part)
    seeded_by = isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0
    for what, value, wanted, fits in (
        ("module", modules, "modules", all(isinstance(each, nn.Module) for each in modules)),
        ("options", options, "Options", options is None or isinstance(options, Options)),
        ("part", part, f"one of {', '.join(parts)}", part is None or part in parts),
        ("seed", seed, "a whole number, 0 or more", seed is None or seeded_by),
    ):
        if not fits:
            raise ConfigError(f"expected {what} as {wanted}, got {value!r}")


def examine(
    callables: Callables,
    material: Material,
    options: Options,
    plugins: Plugins,
    *,
    watch: Watch = lambda line: None,
) -> Audit:
    """Audit two functions on data; `audit` is the same with fewer things to prepare."""
    with seeded(material.seed, "audit"), callables.evaluating():
        return _examine(callables, material, options, plugins, watch)


def _examine(
    callables: Callables, material: Material, options: Options, plugins: Plugins, watch: Watch
) -> Audit:
    noise, data = Noise(material.seed).of("audit"), material.rows
    if len(data) < 2:
        raise DataError(f"an audit takes two sequences or more, got {len(data)}")
    rows = choose(len(data), options.posteriors, _seed(noise, "sequences"))
    first = _x(collate([data[int(row)] for row in rows[:_TRIAL]]))
    frames = _frames(material, first)
    trial = attempt(callables, first, frames=frames, batch_size=options.batch_size)
    form, warnings = trial.form, [*material.warnings, *trial.warnings]
    if material.tasks is not None:  # what is wrong with them is told before the work is done
        asked(plugins, form, [], labelled=True, tasks=material.tasks)
    watch(f"encoding {len(rows)} sequences")
    encoded = encode_all(
        callables, form, _batches(data, rows, options.batch_size), places=options.places,
        seed=_seed(noise, "places"),
    )  # fmt: skip
    readings = read_factors(
        encoded, form, noise.of("pairs"), most=options.posteriors, pairs=options.pairs,
        margin=options.margin, seed=_seed(noise, "frames"),
    )  # fmt: skip
    some = rows[choose(len(rows), options.decoded, _seed(noise, "decoded"))]
    watch(f"decoding {len(some)} of them without and with each factor exchanged")
    x = torch.cat([batch.x for batch in _batches(data, some, options.batch_size)])
    used = use_of(callables, form, x, encoded.template, noise.of("exchange"))
    factors = _factors(readings.sandwich, used)
    kept = top(callables, form, x, encoded.template, keeping(factors, options.rules))
    used = evolve(used, curve=kept)
    verdict = judge(factors, options.rules, _curve(used))
    shapes = data_shapes(material.splits)
    model = wrap(callables, form, shapes.labels, used.mse.value)
    strongest = readings.sandwich.order[: options.strongest].tolist()
    ran = []
    for task in asked(
        plugins, form, strongest, labelled=bool(shapes.labels), tasks=material.tasks
    ):  # fmt: skip
        watch(f"task {task.name}")
        ran.append(run(task, model, material.splits, material.seed))
    found = Findings(
        callables=callables, form=form, material=material, options=options, sequences=len(rows),
        available=len(data), readings=readings, used=used, verdict=verdict, warnings=warnings,
        tasks=ran,
    )  # fmt: skip
    return Audit(
        content=record(found), verdict=verdict, findings=found, x=x, template=encoded.template
    )


def _factors(sandwich: Any, used: Any) -> list[Factor]:
    known = used.variance > 0.0
    numbers = zip(
        sandwich.mixture.value.tolist(), sandwich.mixture.stderr.tolist(),
        sandwich.upper.value.tolist(), used.effect, strict=True,
    )  # fmt: skip
    return [
        Factor(
            index=h, mi=mi, stderr=stderr, upper=upper,
            effect=effect.value / used.variance if known else None,
        )
        for h, (mi, stderr, upper, effect) in enumerate(numbers)
    ]  # fmt: skip


def _curve(used: Any) -> dict[int, float] | None:
    if not used.variance > 0.0:
        return None
    return {k: mean.value / used.variance for k, mean in used.curve.items()}


def _frames(material: Material, first: Tensor) -> int:
    """Return T, or 0 where x has no axis of time."""
    frames = first.shape[1]
    if material.time is False and frames > 1:
        raise DataError(f"x has no axis of time, as was said, but sequences have {frames} frames")
    return frames if material.time or frames > 1 else 0


def _x(batch: Batch) -> Tensor:
    one_length(batch.lengths)
    return batch.x


def _batches(data: Any, rows: Any, size: int) -> Iterator[Batch]:
    return read(data, rows, size)


def _seed(noise: Noise, name: str) -> int:
    return int(noise.of(name).integers(2**31, (1,)))
