"""A plugin that keeps its contract: an encoder, two presets, and an observer."""

from attrs import field, frozen, validators

from seqvae_core.components import EncoderConfig
from seqvae_core.hookspecs import Preset, hookimpl

SEEN = []


@frozen(kw_only=True)
class GRU(EncoderConfig):
    name = "gru"
    hidden: int = field(default=8, validator=validators.ge(1))

    def build(self, shapes):
        raise NotImplementedError


@hookimpl
def seqvae_encoders():
    return [GRU]


@hookimpl
def seqvae_presets():
    return [Preset(name="toy-preset", summary="a toy", reference="none", data={"seed": 3})]


@hookimpl
def seqvae_after_step(metrics):
    SEEN.append(dict(metrics))
