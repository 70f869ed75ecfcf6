"""How much an audit reads, and where it draws its lines."""

from attrs import field, frozen, validators

from seqvae_audit.verdict import Rules

__all__ = ["Options"]

_positive = validators.ge(1)


@frozen(kw_only=True)
class Options:
    """How much an audit reads, and where it draws its lines.

    Attributes:
        posteriors: how many are read at most, of sequences and of frames, chosen at random.
        decoded: how many sequences are decoded at most to see what the decoder uses.
        pairs: sequences up to which one posterior is left out of the mixture.
        places: of a map at most, chosen at random, the same for all sequences.
        batch_size: rows that the functions are given at most.
        strongest: how many factors are traversed.
        margin: nats below ln M, of M posteriors, from which a factor counts as saturated; half of
            ln M at most. Of frames the ln of their sequences counts as well.
        off: nats of KL(q(z_h)‖N(0, 1)) above which an aggregate counts as off the prior.
        rules: where the lines of the verdict are drawn.
    """

    posteriors: int = field(default=10_000, validator=validators.ge(2))
    decoded: int = field(default=256, validator=validators.ge(2))
    pairs: int = field(default=2000, validator=validators.ge(0))
    places: int = field(default=64, validator=_positive)
    batch_size: int = field(default=64, validator=_positive)
    strongest: int = field(default=8, validator=_positive)
    margin: float = field(default=1.0, validator=validators.ge(0.0))
    off: float = field(default=0.1, validator=validators.ge(0.0))
    rules: Rules = field(factory=Rules)
