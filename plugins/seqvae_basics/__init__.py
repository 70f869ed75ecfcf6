"""Shared parts of sequential VAEs: backbones, encoders, priors, decoders, likelihoods."""

from seqvae_core.hookspecs import hookimpl


@hookimpl
def seqvae_backbones() -> list[type]:
    """Return `identity`, `mlp`, `conv1d` and `conv2d`."""
    from seqvae_basics import config

    return [config.Identity, config.MLP, config.Conv1d, config.Conv2d]


@hookimpl
def seqvae_encoders() -> list[type]:
    """Return `feedforward`, `dsae-factorised` and `dsae-full`."""
    from seqvae_basics import config

    return [config.FeedForward, config.DSAEFactorised, config.DSAEFull]


@hookimpl
def seqvae_priors() -> list[type]:
    """Return `standard-normal`, `autoregressive-gaussian` and `uniform-categorical`."""
    from seqvae_basics import config

    return [config.StandardNormal, config.AutoregressiveGaussian, config.UniformCategorical]


@hookimpl
def seqvae_decoders() -> list[type]:
    """Return `framewise`, `pixelcnn` and `causal-conv`."""
    from seqvae_basics import autoregressive_config, config

    return [config.Framewise, autoregressive_config.PixelCNN, autoregressive_config.CausalConv]


@hookimpl
def seqvae_likelihoods() -> list[type]:
    """Return `gaussian`, `bernoulli`, `categorical` and `discretised-logistic-mixture`."""
    from seqvae_basics import autoregressive_config, config

    return [
        config.GaussianLikelihood,
        config.BernoulliLikelihood,
        autoregressive_config.CategoricalLikelihood,
        autoregressive_config.DiscretisedLogisticMixture,
    ]
