"""Registered tasks on a model that was trained elsewhere: which, and what becomes of each."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from attrs import field, frozen

from seqvae_audit.callables import told
from seqvae_audit.protocol import ModelError
from seqvae_audit.wrapped import Form
from seqvae_core.components import TaskConfig, TaskResult
from seqvae_core.config import structure_component
from seqvae_core.errors import ConfigError, SeqVAEError
from seqvae_core.model import SeqVAE
from seqvae_core.plugins import Plugins
from seqvae_core.records import Noise, Splits

__all__ = ["Asked", "Ran", "asked", "run"]

State = Literal["done", "not applicable", "failed", "not there"]

# The tasks of an audit, by what they take: "factors" reads each number of z as a factor, of which
# a map has too many and all alike; "labels" needs some.
_STANDARD: Mapping[str, frozenset[str]] = {
    "traverse": frozenset({"factors"}),
    "reconstruction": frozenset(),
    "rates": frozenset(),
    "influence": frozenset({"factors"}),
    "factor-selection": frozenset({"factors"}),
    "reconstruction-bound": frozenset({"factors"}),
    "fano-bound": frozenset({"factors", "labels"}),
    "jacobian-columns": frozenset({"factors"}),
    "probe": frozenset({"factors", "labels"}),
}


@frozen(kw_only=True)
class Asked:
    """A task to run, or why it is not."""

    name: str
    config: TaskConfig | None = None
    why: str = ""
    state: State = "done"


@frozen(eq=False, kw_only=True)
class Ran:
    """What became of a task."""

    name: str
    state: State
    why: str = ""
    result: TaskResult = field(factory=TaskResult)


def asked(
    plugins: Plugins,
    form: Form,
    strongest: Sequence[int],
    *,
    labelled: bool,
    tasks: Sequence[Any] | None = None,
) -> list[Asked]:
    """Return the tasks to run, the standard ones or those given as plain data.

    A bare name of a standard task stands for it with the settings that it has here.

    Raises:
        ConfigError: if one of those given is unknown, or its settings are wrong, or two have one
            name.
    """
    if tasks is not None and not isinstance(tasks, (list, tuple)):
        raise ConfigError(f"expected tasks as a list of names or settings, got {tasks!r} @ $.tasks")
    known = plugins.components("task")
    found = []
    for each in _STANDARD if tasks is None else tasks:
        if isinstance(each, str) and each in _STANDARD and (tasks is None or each in known):
            settled = {"labelled": labelled, "known": each in known}
            found.append(_standard(each, plugins, form, strongest, **settled))
        else:
            config = structure_component("task", each, plugins)
            found.append(Asked(name=config.label or config.name, config=config))
    names = [each.name for each in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(
            f"task '{twice[0]}' is asked for twice; a 'label' of its own tells one from the other"
        )
    return found


def _standard(
    name: str, plugins: Plugins, form: Form, strongest: Sequence[int],
    *, labelled: bool, known: bool,
) -> Asked:  # fmt: skip
    needs = _STANDARD[name]
    if not known:
        return Asked(name=name, state="not there", why="no plugin provides it")
    if "factors" in needs and form.kind == "map":
        why = "it reads every number of z as a factor; of a map the audit reads channels"
        return Asked(name=name, state="not applicable", why=why)
    if "labels" in needs and not labelled:
        return Asked(name=name, state="not applicable", why="the data have no labels")
    plain: dict[str, Any] = {"name": name}
    if name == "traverse":
        plain["codes"] = [f"{form.name}[{','.join(map(str, strongest))}]"]
        plain["reach"] = 3.0  # of the prior's standard deviations
    try:
        config: TaskConfig = structure_component("task", plain, plugins)
    except ConfigError as error:
        return Asked(name=name, state="failed", why=" ".join(str(error).split()))
    return Asked(name=name, config=config)


def run(task: Asked, model: SeqVAE, splits: Splits, seed: int) -> Ran:
    """Run a task; whatever it raises ends it alone."""
    if task.config is None:
        return Ran(name=task.name, state=task.state, why=task.why)
    try:
        noise = Noise(seed).of("task").of(task.name)
        result = task.config.build(model.shapes)(model, splits, noise)
    except ModelError as error:
        return Ran(name=task.name, state="failed", why=str(error))
    except SeqVAEError as error:
        return Ran(name=task.name, state="not applicable", why=" ".join(str(error).split()))
    except Exception as error:  # somebody else's code under somebody else's model
        return Ran(name=task.name, state="failed", why=told(error))
    if result.metrics or result.tables or result.figures or result.sounds:
        return Ran(name=task.name, state="done", result=result)
    said = [note for note in result.notes if "not applicable" in note]  # others tell of the data
    why = "; ".join(note.removeprefix("not applicable: ") for note in said) or "it found nothing"
    return Ran(name=task.name, state="not applicable", why=why)
