"""A plugin that brings a command which another brings too, and one of its own."""

import click

from seqvae_core.hookspecs import hookimpl


@click.command("acme-hello")
def hello():
    """Greet nobody."""


@click.command("acme-bye")
def bye():
    """Say goodbye."""
    click.echo("bye")


@hookimpl
def seqvae_commands():
    return [hello, bye]
