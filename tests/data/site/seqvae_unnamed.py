"""A plugin whose component has a name that is not kebab-case."""

from attrs import frozen

from seqvae_core.components import EncoderConfig
from seqvae_core.hookspecs import hookimpl


@frozen(kw_only=True)
class Wide(EncoderConfig):
    name = "WideGRU"

    def build(self, shapes):
        raise NotImplementedError


@hookimpl
def seqvae_encoders():
    return [Wide]
