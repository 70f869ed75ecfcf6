"""A plugin that wraps a hook."""

from seqvae_core.hookspecs import hookimpl


@hookimpl(wrapper=True)
def seqvae_encoders():
    return (yield)
