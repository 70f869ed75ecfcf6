"""A plugin whose command is a plain function."""

from seqvae_core.hookspecs import hookimpl


def hello():
    """Greet."""


@hookimpl
def seqvae_commands():
    return [hello]
