"""A plugin with one good hook and one whose name is misspelt."""

from seqvae_toy import GRU

from seqvae_core.hookspecs import hookimpl


@hookimpl
def seqvae_encoders():
    return [GRU]


@hookimpl
def seqvae_encodrs():
    return [GRU]
