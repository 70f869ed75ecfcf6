"""A plugin whose component hook raises."""

from seqvae_core.hookspecs import hookimpl


@hookimpl
def seqvae_encoders():
    raise RuntimeError("cannot read\n  the settings")
