"""Options that several commands share."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from seqvae_core.plugins import Plugins

__all__ = ["DEVICES", "JSON", "MODULES", "PRECISION", "SET", "load_plugins", "options"]

_Command = Callable[..., Any]

MODULES = click.option("-p", "modules", multiple=True, metavar="MODULE",
                       help="Load a plugin module or a single .py file too.")  # fmt: skip
SET = click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE",
                   help="Override a setting, such as train.steps=20.")  # fmt: skip
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON only.")
DEVICES = click.option("--devices", type=click.IntRange(min=1), default=1, show_default=True,
                       help="Processes to train on.")  # fmt: skip
PRECISION = click.option("--precision", default="32-true", show_default=True,
                         help="Such as bf16-mixed or 64-true.")  # fmt: skip


def options(*those: _Command) -> Callable[[_Command], _Command]:
    """Return a decorator that gives a command some options, in that order."""

    def add(command: _Command) -> _Command:
        for option in reversed(those):
            command = option(command)
        return command

    return add


def load_plugins(modules: tuple[str, ...], *, quiet: bool = False) -> "Plugins":
    """Load the installed plugins and some modules; tell of those left out, unless `quiet`."""
    from seqvae_core.plugins import Plugins

    plugins = Plugins.load(modules)
    for plugin in [] if quiet else plugins.failures:
        click.echo(f"plugin {plugin.origin} left out: {plugin.error}", err=True)
    return plugins
