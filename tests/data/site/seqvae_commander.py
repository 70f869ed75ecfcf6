"""A plugin that brings a command."""

import click

from seqvae_core.hookspecs import hookimpl


@click.command("acme-hello")
@click.option("--name", default="world")
def hello(name):
    """Greet somebody."""
    click.echo(f"hello {name}")


@hookimpl
def seqvae_commands():
    return [hello]
