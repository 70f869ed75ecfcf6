"""A plugin that brings a command of seqvae's own name."""

import click

from seqvae_core.hookspecs import hookimpl


@click.command("train")
def train():
    """Do something else."""


@hookimpl
def seqvae_commands():
    return [train]
