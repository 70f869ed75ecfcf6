"""What an audit found as plain data, for `audit.json`, and in sentences."""

import math
from importlib import metadata
from typing import Any

from attrs import asdict, frozen

from seqvae_audit.asking import Ran
from seqvae_audit.callables import Callables
from seqvae_audit.decoded import Mean, Used
from seqvae_audit.encoded import Readings
from seqvae_audit.material import Material
from seqvae_audit.options import Options
from seqvae_audit.verdict import Verdict
from seqvae_audit.wrapped import Form

__all__ = ["FORMAT", "Findings", "record"]

FORMAT = 1


@frozen(eq=False, kw_only=True)
class Findings:
    """All that an audit found.

    Attributes:
        callables: the model.
        form: of x and z.
        material: the data.
        options: how much was read.
        sequences: how many were.
        available: how many there are.
        readings: what the encoder puts in.
        used: what the decoder makes of it.
        verdict: what follows.
        warnings: what to look at before the numbers.
        tasks: what became of each.
    """

    callables: Callables
    form: Form
    material: Material
    options: Options
    sequences: int
    available: int
    readings: Readings
    used: Used
    verdict: Verdict
    warnings: list[str]
    tasks: list[Ran]

    @property
    def noun(self) -> str:
        """What a factor is called."""
        return "channel" if self.form.kind == "map" else "factor"

    def factors(self) -> list[dict[str, Any]]:
        """Return one row a factor, the most informative first; None for what is not known."""
        found, used = self.readings.sandwich, self.used
        scale = used.variance
        rows = []
        for rank, h in enumerate(found.order.tolist()):
            out = found.leave_one_out
            rows.append({
                "factor": h,
                "status": self.verdict.status[h],
                "settled": self.verdict.settled[h],
                "mi": float(found.mixture.value[h]),
                "mi_stderr": float(found.mixture.stderr[h]),
                "upper": float(found.upper.value[h]),
                "leave_one_out": None if out is None else float(out.value[h]),
                "free_mean": float(found.free_mean.value[h]),
                "zero_mean": float(found.zero_mean.value[h]),
                "kl": float(found.kl.value[h]),
                "saturated": bool(self.readings.saturated[h]),
                "apart_from_next": bool(found.apart[rank]) if rank < len(found.apart) else None,
                "aggregate_mean": float(self.readings.mean[h]),
                "aggregate_variance": float(self.readings.variance[h]),
                "aggregate_kl": float(self.readings.marginal.value[h]),
                "aggregate_kl_stderr": float(self.readings.marginal.stderr[h]),
                "effect": _share(used.effect[h].value, scale),
                "effect_stderr": _share(used.effect[h].stderr, scale),
                "cost": _share(used.cost[h].value, scale),
                "cost_stderr": _share(used.cost[h].stderr, scale),
            })  # fmt: skip
        return rows

    def sentences(self) -> list[str]:
        """Return the verdict in words."""
        found, rules = self.verdict, self.options.rules
        count, noun = self.form.factors, self.noun
        matters, ignored, weak, dead = (
            found.of(each) for each in ("matters", "ignored", "weak", "dead")
        )
        said = [
            f"{len(matters)} of {count} {noun}s matter: they hold more than {rules.threshold:g} "
            "nats of x each, and the decoder changes with them"
            + (f"; with errors and bounds, {found.least} to {found.most}"
               if found.least < found.most else ""),
            f"{len(dead)} of {count} are dead: even the upper bound is at most {rules.dead:g} "
            "nats, and the decoder does not change with them",
        ]  # fmt: skip
        if weak:
            said.append(
                f"{len(weak)} of {count} are weak: up to {rules.threshold:g} nats, and not dead"
            )
        if ignored:
            said.append(
                f"{len(ignored)} of {count} are encoded and ignored: {_listed(ignored)} hold "
                f"more than {rules.threshold:g} nats, and the decoder does not change with them"
            )
        if found.keep is None or found.loss is None:
            said.append("what can be left out is not known: x is constant")
        else:
            said.append(
                f"{len(found.dropped)} of {count} {noun}s can be set to their mean at a cost of "
                f"{100.0 * found.loss:.2g} % of the variance of x: the {found.keep} strongest are "
                "enough"
            )
        return said

    def saturated(self) -> list[int]:
        """Return the factors near their ceiling."""
        return [int(h) for h in self.readings.saturated.nonzero().flatten()]

    def off(self) -> list[int]:
        """Return the factors whose aggregate is off the prior, by index."""
        value = self.readings.marginal.value
        return [h for h, each in enumerate(value.tolist()) if each > self.options.off]

    def notes(self) -> list[str]:
        """Return how to read the numbers."""
        alike = self.alike()
        frames = "" if self.form.kind != "frames" else " in all frames"
        return [
            f"I(x; z_h) by I_M, the mean KL of {self.readings.what}, to their own mixture: a lower "
            "bound in expectation, at most ln M. The upper bound is the lower of leave-one-out, "
            "where it is taken, and of the closed form against the best Gaussian",
            f"effect: the mean squared change of what is decoded when the factor is exchanged "
            f"among {self.used.inputs} inputs{frames}; cost: by how much the squared error "
            f"grows when it is set to its mean{frames}; both at posterior means, as shares of the "
            "variance of x",
            "standard errors are those of this sample of inputs; the prior is taken to be N(0, 1)",
            "Σ_h I(x; z_h) is I(x; z) plus what the factors share, and no information of z itself",
            *([alike] if alike else []),
        ]

    def alike(self) -> str:
        """Return what is said of factors at the ceiling of frames that are alike, if there are."""
        ceiling = self.readings.alike
        if ceiling is None:
            return ""
        return self.readings.sandwich.mixture.alike(round(math.exp(ceiling)))

    def not_applicable(self) -> list[dict[str, str]]:
        """Return what was not read, and why."""
        found = []
        if self.readings.sandwich.leave_one_out is None:
            why = {
                "vector": f"{self.sequences} posteriors are more than pairs = {self.options.pairs}",
                "frames": "frames of a sequence are alike, and stand in for the one left out",
                "map": "it is not taken place by place",
            }[self.form.kind]
            found.append({"what": "leave-one-out", "why": why})
        if self.verdict.keep is None:
            found.append({"what": "what can be left out", "why": "x is constant"})
        reasons: dict[str, list[str]] = {}
        for each in self.tasks:
            if each.state != "done":
                state = "" if each.state == "not applicable" else f"{each.state}: "
                reasons.setdefault(f"{state}{each.why}", []).append(each.name)
        for why, names in reasons.items():
            noun = "task" if len(names) == 1 else "tasks"
            found.append({"what": f"{noun} {', '.join(names)}", "why": why})
        return found


def record(found: Findings) -> dict[str, Any]:
    """Return the content of `audit.json`: plain data, None for numbers that are not finite."""
    used, verdict = found.used, found.verdict
    content = {
        "format": FORMAT,
        "seqvae": metadata.version("seqvae"),
        "model": _model(found),
        "data": {
            "source": found.material.source,
            "part": found.material.part,
            "sequences": found.sequences,
            "available": found.available,
            "decoded": used.inputs,
            "frame": list(found.form.frame),
            "frames": found.form.frames or None,
            "seed": found.material.seed,
        },
        "options": asdict(found.options),
        "warnings": list(found.warnings),
        "verdict": {
            "sentences": found.sentences(),
            **{each: list(verdict.of(each)) for each in ("matters", "weak", "ignored", "dead")},
            "matters_at_least": verdict.least,
            "matters_at_most": verdict.most,
            "keep": verdict.keep,
            "dropped": list(verdict.dropped),
            "loss": verdict.loss,
        },
        "factors": found.factors(),
        "reconstruction": {
            "mse": used.mse.value,
            "mse_stderr": used.mse.stderr,
            "variance": used.variance,
            "explained": used.explained(used.mse.value),
            "top": [_point(used, k, mean) for k, mean in used.curve.items()],
        },
        "aggregate": {
            "kl_sum": float(found.readings.marginal.value.sum()),
            "off": found.off(),
            "limit": found.options.off,
        },
        "saturation": {
            "ceiling": found.readings.sandwich.mixture.ceiling,
            "ceiling_if_alike": found.readings.alike,
            "margin": found.readings.sandwich.mixture.margin,
            "factors": found.saturated(),
        },
        "notes": found.notes(),
        "not_applicable": found.not_applicable(),
        "tasks": {each.name: _task(each) for each in found.tasks},
    }
    plain: dict[str, Any] = _plain(content)
    return plain


def _model(found: Findings) -> dict[str, Any]:
    like = found.callables.like
    return {
        "name": found.callables.name,
        "latent": found.form.kind,
        "shape": list(found.form.latent),
        "factors": found.form.factors,
        "arrays": "numpy" if found.form.numpy else "torch",
        "type": str(like.dtype).removeprefix("torch."),
        "device": str(like.device),
        "parameters": sum(
            each.numel() for each in {
                id(value): value for module in found.callables.modules
                for value in module.parameters()
            }.values()
        ),
    }  # fmt: skip


def _point(used: Used, k: int, mean: Mean) -> dict[str, Any]:
    return {
        "kept": k, "mse": mean.value, "mse_stderr": mean.stderr,
        "explained": used.explained(mean.value),
    }  # fmt: skip


def _task(ran: Ran) -> dict[str, Any]:
    return {
        "state": ran.state, "why": ran.why, "metrics": ran.result.metrics,
        "tables": ran.result.tables, "notes": ran.result.notes,
    }  # fmt: skip


def _share(value: float, scale: float) -> float | None:
    return value / scale if scale > 0.0 else None


def _listed(those: tuple[int, ...]) -> str:
    more = f" and {len(those) - 12} more" if len(those) > 12 else ""
    return ", ".join(map(str, those[:12])) + more


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, bool) or value is None or isinstance(value, (int, str)):
        return value
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if not isinstance(value, (bool, int)) else value
