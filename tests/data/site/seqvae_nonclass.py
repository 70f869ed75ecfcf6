"""A plugin whose component hook returns a name."""

from seqvae_core.hookspecs import hookimpl


@hookimpl
def seqvae_encoders():
    return ["gru"]
