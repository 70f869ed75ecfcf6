"""A plugin whose observer fails."""

from seqvae_core.hookspecs import hookimpl

CALLS = []


@hookimpl
def seqvae_before_run(run):
    CALLS.append("before")


@hookimpl
def seqvae_after_step(run, metrics):
    CALLS.append("step")
    raise OSError("disk full")
