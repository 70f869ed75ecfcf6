"""A plugin with one good hook and one whose name is misspelt."""

from attrs import frozen

from seqvae_core.components import EncoderConfig
from seqvae_core.hookspecs import hookimpl


@frozen(kw_only=True)
class LSTM(EncoderConfig):
    name = "lstm"

    def build(self, shapes):
        raise NotImplementedError


@hookimpl
def seqvae_encoders():
    return [LSTM]


@hookimpl
def seqvae_encodrs():
    return [LSTM]
