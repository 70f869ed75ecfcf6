"""The group of commands: seqvae's own, and those that installed plugins bring."""

from typing import TYPE_CHECKING

import click

from seqvae_core.errors import DuplicateComponentError

if TYPE_CHECKING:
    from seqvae_core.plugins import Plugins

__all__ = ["Commands"]

_KEY = "seqvae.plugins"


class Commands(click.Group):
    """Commands of its own, found without a look at plugins; any other name is asked of them.

    Plugins are asked for commands alone, which imports no torch unless their modules do.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names; tell of what was left out, and of a name that two plugins bring."""
        plugins = _plugins(ctx)
        _tell(plugins)
        brought = []
        for name in _names(plugins):
            try:
                plugins.get("command", name)
                brought.append(name)
            except DuplicateComponentError as error:
                click.echo(str(error), err=True)
        return sorted([*super().list_commands(ctx), *brought])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return a command, None if there is none.

        Raises:
            DuplicateComponentError: if two plugins bring it; the message names both.
        """
        own = super().get_command(ctx, name)
        if own is not None:
            return own
        plugins = _plugins(ctx)
        if name in _names(plugins):
            found: click.Command = plugins.get("command", name)
            return found
        if not ctx.resilient_parsing:
            _tell(plugins)
        return None


def _plugins(ctx: click.Context) -> "Plugins":
    """Return the plugins, loaded once for a call of the command line."""
    from seqvae_core.plugins import Plugins

    if _KEY not in ctx.meta:
        ctx.meta[_KEY] = Plugins.load(only=["command"])
    found: Plugins = ctx.meta[_KEY]
    return found


def _names(plugins: "Plugins") -> set[str]:
    return {each.name for plugin in plugins.loaded for each in plugin.provides.get("command", ())}


def _tell(plugins: "Plugins") -> None:
    for plugin in plugins.failures:
        click.echo(plugin.failure, err=True)
