"""The settings of the task that asks what each latent tells and should not."""

from functools import partial
from typing import ClassVar

from attrs import field, frozen, validators

from seqvae_core.components import Task, TaskConfig
from seqvae_core.records import Shapes

__all__ = ["Leakage"]


@frozen(kw_only=True)
class Leakage(TaskConfig):
    """Whether local latents tell the identity, and global latents the local content.

    The identity is read off single frames and their mean by a linear probe, and off whole
    sequences by a recurrent one; content off what belongs to the sequence, by a linear probe and
    a small MLP. The same probes read the raw frames, their principal components and an untrained
    copy of the encoder.

    Attributes:
        identity: the global label that local latents should not tell.
        content: the local label that global latents should not tell; all when left out.
        utterance: a global label that names the utterance which a segment is cut from: its
            segments are resampled, and held out within a fit, together.
        frames: how many frames a fit on single frames sees at most, chosen at random.
        steps: of the recurrent probe at most, of 64 sequences each.
        resamples: of the bootstrap.
        reference: whether to add what an adversary with labels leaves of the local latents, an
            upper reference that is supervised; it takes some seconds.
    """

    name: ClassVar[str] = "leakage"

    identity: str = "speaker"
    content: str | None = None
    utterance: str | None = None
    frames: int = field(default=5000, validator=validators.ge(1))
    steps: int = field(default=600, validator=validators.ge(1))
    resamples: int = field(default=1000, validator=validators.ge(1))
    reference: bool = False

    def build(self, shapes: Shapes) -> Task:
        """Build the task."""
        from seqvae_tasks.leakage import leakage

        return partial(leakage, self)
