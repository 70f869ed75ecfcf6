"""A plugin whose encoder has the name of another's."""

from attrs import frozen

from seqvae_core.components import EncoderConfig
from seqvae_core.hookspecs import hookimpl


@frozen(kw_only=True)
class GRU(EncoderConfig):
    name = "gru"

    def build(self, shapes):
        raise NotImplementedError


@hookimpl
def seqvae_encoders():
    return [GRU]
