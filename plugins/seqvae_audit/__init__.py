"""Audit a VAE that was trained elsewhere: which of its factors matter, which are dead.

From Python, `from seqvae_audit import Options, Rules, audit`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from seqvae_core.hookspecs import hookimpl

if TYPE_CHECKING:
    import click

__all__ = ["Audit", "Options", "Rules", "audit"]

_PLACES = {"Audit": "auditing", "Options": "options", "Rules": "verdict", "audit": "auditing"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


@hookimpl
def seqvae_commands() -> "list[click.Command]":
    """Return the command `audit`."""
    from seqvae_audit.command import command

    return [command]
