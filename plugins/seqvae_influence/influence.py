"""How much of the data each factor of a latent holds: the task."""

from seqvae_core.components import TaskResult
from seqvae_core.model import SeqVAE
from seqvae_core.pictures import available
from seqvae_core.records import Noise, Splits
from seqvae_influence.beside import Beside, norms_of, probes_of
from seqvae_influence.config import Influence
from seqvae_influence.decoded import decoded_of
from seqvae_influence.finding import Finding
from seqvae_influence.posteriors import Posteriors, collect
from seqvae_tasks.representations import seed_of
from seqvae_tasks.sequences import choose

__all__ = ["influence"]


def influence(config: Influence, model: SeqVAE, splits: Splits, noise: Noise) -> TaskResult:
    """Read I(x; z_h) of each factor h off the posteriors of one part of the data.

    A global latent z has a posterior a sequence, "z". A local latent s has one a frame, "s per
    frame", and one of its mean over time a sequence, "pooled s". NAME is any of these.

    Returns:
        In nats: "mi/NAME/h", I_M of factor h, a lower bound in expectation; "ceiling/NAME", ln M;
        "gap/NAME", the largest step down in sorted I_M; "mi plus tc/NAME", Σ_h I(x; z_h), which
        is not I(x; z); "joint mi bound/NAME", above I(x; z), and "tc bound/NAME", below TC;
        "joint mi/NAME" and "tc/NAME" where M posteriors can tell them; "kl/NAME" where the prior is
        N(0, 1). Counts: "influential/NAME" by I_M, "influential as published/NAME" by the
        zero-mean closed form, "influential by gap/NAME", "active units/NAME", "saturated/NAME".
        "decoded/NAME/h", a lower bound in nats of I(z_h; x̃), another quantity. "rank
        correlation/NAME/COLUMN", Spearman's ρ of I_M and another column of the table. Of each label
        that is read off single factors "best factor/NAME/LABEL", accuracy or R², and
        "chance/NAME/LABEL".
        For each NAME a table of factors, one of what they sum up to, one of rank correlations,
        and a picture.

    References:
        Discovering influential factors in variational autoencoders (Liu et al., 2020)
        | https://arxiv.org/abs/1809.01804
    """
    noise = noise.of("influence")
    result = TaskResult()
    tables = _tables(config, model, splits, noise, result)
    beside = _beside(config, model, splits, noise, result) if tables else {}
    for found in tables:
        known = beside.get(found.name, Beside())
        Finding.of(config, found, known, noise.of(found.name)).report(result)
    if result.tables:
        result.notes[:0] = _method(config)
        if not available():
            result.notes.append("no picture: matplotlib is missing; pip install 'seqvae[report]'")
    return result


def _tables(
    config: Influence, model: SeqVAE, splits: Splits, noise: Noise, result: TaskResult
) -> list[Posteriors]:
    """Return every table of posteriors that can be read; note why others cannot."""
    names = list(model.priors) if config.latent is None else [config.latent]
    data = splits.train if config.part == "train" else splits.test
    rows = choose(len(data), config.posteriors, seed_of(noise, "sequences"))
    if len(rows) < len(data):
        result.notes.append(
            f"{len(rows)} of the {config.part} part's {len(data)} sequences, chosen at random"
        )
    found = collect(model, data, rows, names)
    tables: list[Posteriors] = []
    for name in names:
        if name not in found:
            result.notes.append(f"not applicable to '{name}': its posteriors are not Gaussian")
        elif found[name].unit is None:
            tables.append(found[name])
        else:
            tables += _of_frames(config, name, found[name], noise, result)
    kept = [table for table in tables if len(table.mean) > 1]
    for table in tables:
        if table not in kept:
            result.notes.append(f"not applicable to {table.name}: it takes two posteriors")
    return kept


def _beside(
    config: Influence, model: SeqVAE, splits: Splits, noise: Noise, result: TaskResult
) -> dict[str, Beside]:
    """Return by the table's name what stands beside its readings; note why others cannot."""
    names = list(model.priors) if config.latent is None else [config.latent]
    norms = norms_of(config, model, splits, names, noise.of("norms"), result)
    probes = probes_of(config, model, splits, noise.of("probes"), result)
    decoded = decoded_of(config, model, splits, names, noise.of("decoded"), result)
    return {
        name: Beside(norms=norms.get(name), probes=probes.get(name, ()), decoded=decoded.get(name))
        for name in {*norms, *probes, *decoded}
    }


def _of_frames(
    config: Influence, latent: str, frames: Posteriors, noise: Noise, result: TaskResult
) -> list[Posteriors]:
    pooled = frames.pooled(latent)
    some = frames.at_most(config.posteriors, seed_of(noise.of(frames.name), "frames"))
    if len(some.mean) < len(frames.mean):
        result.notes.append(
            f"{frames.name}: {len(some.mean)} of {len(frames.mean)} frames, chosen at random"
        )
    if len(pooled.mean) == len(frames.mean):
        return [some]  # sequences of one frame, which is its own mean
    return [some, pooled]


def _method(config: Influence) -> list[str]:
    return [
        f"I(x; z_h) of each factor h, from means and variances of the {config.part} part's "
        "posteriors; per frame, of a frame and which sequence it is of; pooled, of the mean of s "
        "over time, which is Gaussian as frames are independent given x; of a local latent at the "
        "means of the latents that its posterior depends on",
        "I_M, against the mixture of all M posteriors: consistent, a lower bound in expectation, "
        "at most ln M; leave-one-out, against the others: an upper bound in expectation; free "
        "mean and zero mean, the latter as published, against the best Gaussian: upper bounds, "
        "met where the aggregate is that Gaussian",
        f"selected by: threshold, I_M above {config.threshold:g} nats; closed form, as published "
        "the zero mean above it; gap, above the largest step down in sorted I_M, 0 below the "
        "last; above the next: by two standard errors, the next factor's upper bound included",
        "standard errors are those of this sample of sequences; what the encoder puts into a "
        "factor the decoder need not use: column norm, the mean norm of the decoded mean's "
        f"derivative by the factor, of {config.norms} sequences at most, says what it makes of it; "
        f"decoded, a lower bound of I(z_h; x̃), x̃ a {config.decoded_as} of p(x|z), says how much "
        "of the factor can be told from what is decoded"
        + (", be it by way of other factors" if config.decoded == "posterior" else ""),
        "labels: what a decision tree of that factor's posterior mean alone, fitted on the train "
        "part, scores on the test part",
    ]
