"""A plugin with one good hook and one that asks for an argument that does not exist."""

from seqvae_core.hookspecs import hookimpl


@hookimpl
def seqvae_after_evaluation(run):
    raise AssertionError("never called: the plugin is left out")


@hookimpl
def seqvae_after_step(run, metric):
    raise AssertionError("never called: the plugin is left out")
