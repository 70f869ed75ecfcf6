"""A plugin whose hook has a default, which pluggy passes in some of its versions only."""

from seqvae_core.hookspecs import hookimpl


@hookimpl
def seqvae_after_step(run, metrics=None):
    raise AssertionError("never called: the plugin is left out")
