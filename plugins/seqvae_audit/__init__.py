"""Audit a VAE that was trained elsewhere: which of its factors matter, which are dead."""

from typing import TYPE_CHECKING

from seqvae_core.hookspecs import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def seqvae_commands() -> "list[click.Command]":
    """Return the command `audit`."""
    from seqvae_audit.command import command

    return [command]
