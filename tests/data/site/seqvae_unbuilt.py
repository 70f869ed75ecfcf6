"""A plugin whose component has no build()."""

from attrs import frozen

from seqvae_core.components import EncoderConfig
from seqvae_core.hookspecs import hookimpl


@frozen(kw_only=True)
class Half(EncoderConfig):
    name = "half"


@hookimpl
def seqvae_encoders():
    return [Half]
