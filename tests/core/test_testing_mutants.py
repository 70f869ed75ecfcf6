"""The conformance kit finds what is wrong: each broken component here, by the claim it breaks."""

import os
from typing import ClassVar

import attrs
import numpy as np
import pytest
import torch
from attrs import frozen
from torch import nn

from seqvae_core.components import (
    Backbone,
    BackboneConfig,
    Critic,
    DatasetConfig,
    Decoder,
    Estimate,
    MIEstimator,
    MIEstimatorConfig,
    PairCritic,
    Regularizer,
    RegularizerConfig,
    TaskConfig,
    TaskResult,
)
from seqvae_core.functional import zero_padding
from seqvae_core.records import Splits
from seqvae_core.settings import OptimizerConfig
from seqvae_core.testing import check_component, small_shapes
from seqvae_core.testing.standins import (
    Gaussian,
    GaussianLikelihood,
    LinearBackbone,
    LinearDecoder,
    LinearEncoder,
    StandardPrior,
    StandInBackbone,
    StandInDecoder,
    StandInEncoder,
    StandInLikelihood,
    StandInPrior,
)

BROKEN = []


def broken(base, claim, **settings):
    """Make a module's class a component that breaks a claim."""

    def component(module):
        def build(self, shapes):
            return module(*arguments(base, shapes))

        name = "".join(f"-{c.lower()}" if c.isupper() else c for c in module.__name__).strip("-")
        body = {"__doc__": module.__doc__ or "Broken.", "__module__": __name__, "build": build,
                "__qualname__": f"{module.__name__}.Config", "name": name, **settings}  # fmt: skip
        module.Config = frozen(kw_only=True)(type("Config", (base,), body))
        BROKEN.append(pytest.param(module.Config, claim, id=name))
        return module

    return component


def arguments(base, shapes):
    """Return what the stand-in module of a kind takes."""
    return {
        StandInBackbone: lambda: (shapes.frame, 6),
        StandInEncoder: lambda: (shapes.features, list(shapes.latents.values())),
        StandInPrior: lambda: (shapes.latents[shapes.target],),
        StandInDecoder: lambda: (shapes, (5,), ()),
        StandInLikelihood: lambda: (shapes.decoded, shapes.frame),
    }.get(base, lambda: ())()


# Parts of a model --------------------------------------------------------------------------------


@broken(StandInBackbone, "frame t see frame t alone.*frame 0 moves with frame 1")
class Neighbours(LinearBackbone):
    def forward(self, x, mask):
        features = zero_padding(super().forward(x, mask), mask)
        return features + torch.cat([features[:, 1:], torch.zeros_like(features[:, :1])], 1)


@broken(StandInBackbone, r"got features of shape \(1, 1, 6\), expected \(1, 1, 4\)")
class WrongWidth(LinearBackbone):
    def __init__(self, frame, features):
        super().__init__(frame, features)
        self.features = 4


@broken(StandInBackbone, "build the same weights from the same seed: layer.weight differs")
class Unseeded(LinearBackbone):
    def __init__(self, frame, features):
        super().__init__(frame, features)
        seed = int.from_bytes(os.urandom(4))
        nn.init.normal_(self.layer.weight, generator=torch.Generator().manual_seed(seed))


@broken(StandInBackbone, "keep all of its state in tensors of its state_dict: features differs")
class Hidden(LinearBackbone):
    def __init__(self, frame, features):
        super().__init__(frame, features)
        self.scale = float(torch.rand(()))

    def forward(self, x, mask):
        return self.scale * super().forward(x, mask)


@broken(StandInBackbone, "keep the rows of a batch apart")
class Centred(LinearBackbone):
    def forward(self, x, mask):
        features = zero_padding(super().forward(x, mask), mask)
        return features - features.mean(0)


@broken(StandInBackbone, "work for T in 1, 2, 7.*got features as torch.float32")
class SinglePrecision(LinearBackbone):
    def forward(self, x, mask):
        return super().forward(x, mask).float()


@broken(StandInEncoder, "not see what stands in the padding, bit for bit: got .* NaN")
class UnmaskedMean(LinearEncoder):
    def forward(self, features, mask, draw):
        super().forward(features, torch.ones_like(mask), draw)


@broken(StandInEncoder, "not see how much padding there is")
class CountsPadding(LinearEncoder):
    def forward(self, features, mask, draw):
        share = mask.sum(1) / mask.shape[1]
        super().forward(features * share[:, None, None], mask, draw)


@broken(StandInEncoder, "draw samples through which gradients flow.*without a graph")
class Detached(LinearEncoder):
    def forward(self, features, mask, draw):
        super().forward(features, mask, lambda name, q: draw(name, q.detach()))


@broken(StandInEncoder, "it did not draw s")
class Forgetful(LinearEncoder):
    def forward(self, features, mask, draw):
        super().forward(features, mask, lambda name, q: draw(name, q) if name == "z" else None)


@broken(StandInEncoder, r"got the sample of s of shape \(5, 7, 1\), expected \(5, 7, 2\)")
class Narrow(LinearEncoder):
    def forward(self, features, mask, draw):
        def narrow(name, q):
            return draw(name, Gaussian(q.mean[..., :1], q.logvar[..., :1]) if name == "s" else q)

        super().forward(features, mask, narrow)


@broken(StandInPrior, "step t see only the samples before t.*step 0 moves with step 0")
class Peeking(StandardPrior):
    def forward(self, sample, mask):
        return Gaussian(0.5 * sample, torch.zeros_like(sample))


@broken(StandInPrior, "step t see only the samples before t.*step 0 moves with step 6")
class Cyclic(StandardPrior):
    def forward(self, sample, mask):
        if sample.ndim < 3:
            return super().forward(sample, mask)
        last = sample[torch.arange(len(sample)), mask.sum(1) - 1]
        mean = torch.cat([last[:, None], sample[:, :-1]], 1)
        return Gaussian(mean, torch.zeros_like(mean))


@broken(StandInPrior, "sample global latents free-running, from its noise alone.*equal noise")
class GlobalGenerator(StandardPrior):
    def sample(self, n, lengths, noise):
        return torch.randn_like(super().sample(n, lengths, noise))


@broken(StandInPrior, r"got the sample of shape \(1, 2\), expected \(1, 1, 2\)")
class Timeless(StandardPrior):
    def sample(self, n, lengths, noise):
        return noise.normal(self.zero.expand(n, *self.variable.shape))


@broken(StandInDecoder, "be pure.*the features differs")
class Dropout(LinearDecoder):
    def forward(self, latents, x=None):
        decoded, features = super().forward(latents, x)
        return torch.dropout(decoded, 0.5, self.training), features


@broken(StandInDecoder, "be pure.*it moved numpy's global generator")
class Draws(LinearDecoder):
    def forward(self, latents, x=None):
        np.random.random()
        return super().forward(latents, x)


@broken(StandInDecoder, "be pure.*count differs")
class Counts(LinearDecoder):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, latents, x=None):
        self.count += 1.0
        return super().forward(latents, x)


@broken(StandInDecoder, "pass vmap .or declare differentiable_forward = False.*it raised")
class Recurrent(LinearDecoder):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.rnn = nn.LSTM(5, 5, batch_first=True)

    def forward(self, latents, x=None):
        decoded, features = super().forward(latents, x)
        return self.rnn(decoded)[0], features


@broken(StandInDecoder, "own step alone, as `framewise` says: frame 1 moves with frame 0")
class Running(LinearDecoder):
    framewise = True

    def forward(self, latents, x=None):
        return super().forward({**latents, "s": latents["s"].cumsum(1)}, x)


@broken(StandInDecoder, "ignore x unless it is autoregressive")
class SeesX(LinearDecoder):
    def forward(self, latents, x=None):
        decoded, features = super().forward(latents, x)
        return decoded if x is None else decoded + x.mean(2, keepdim=True), features


@broken(StandInDecoder, "see no later frame of x: frame 0 moves with frame 1")
class SeesAhead(LinearDecoder):
    autoregressive = True

    def forward(self, latents, x=None):
        decoded, features = super().forward(latents, x)
        return decoded if x is None else decoded + x.flip(1).cumsum(1).flip(1).mean(
            2, keepdim=True), features  # fmt: skip


class PreviousFrame(LinearDecoder):
    """Right: features from the latents and the frame before."""

    autoregressive = True

    def forward(self, latents, x=None):
        decoded, features = super().forward(latents, x)
        before = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
        return decoded + before.mean(2, keepdim=True), features

    def ancestral(self, latents, lengths, draw):
        first = next(iter(latents.values()))
        x = first.new_zeros(len(first), int(lengths.max()), 3)
        for t in range(x.shape[1]):
            x[:, t : t + 1] = draw(self(latents, x)[0][:, t : t + 1])
        return x


@broken(StandInDecoder, "draw ancestrally what `forward` predicts from it: what is drawn differs")
class SeesThePresent(PreviousFrame):
    def forward(self, latents, x=None):
        decoded, features = super().forward(latents, x)
        return decoded + x[..., :1], features


@broken(StandInDecoder, "draw ancestrally what `forward` predicts from it: what is drawn differs")
class ForgetsItsDraws(PreviousFrame):
    def ancestral(self, latents, lengths, draw):
        return draw(self(latents, torch.zeros_like(super().ancestral(latents, lengths, draw)))[0])


@broken(StandInDecoder, r"got what is drawn of shape \(5, 6, 3\), expected \(5, 7, 3\)")
class DrawsTooFew(PreviousFrame):
    def ancestral(self, latents, lengths, draw):
        return super().ancestral(latents, lengths, draw)[:, 1:]


@broken(StandInDecoder, "draw ancestrally .*: it raised TypeError: CannotDraw is not auto")
class CannotDraw(PreviousFrame):
    ancestral = Decoder.ancestral


@broken(StandInDecoder, "hand a gradient to every parameter: got none for idle.weight")
class Idle(LinearDecoder):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.idle = nn.Linear(2, 2, bias=False)


class Summed(Gaussian):
    def log_prob(self, value):
        return super().log_prob(value).sum(-1)


@broken(StandInLikelihood, r"got the log density of shape \(1, 1\), expected \(1, 1, 3\)")
class NotElementwise(GaussianLikelihood):
    def forward(self, features):
        found = super().forward(features)
        return Summed(found.mean, found.logvar)


@broken(StandInLikelihood, "be float32 under autocast.*got the mean as torch.bfloat16")
class Halved(GaussianLikelihood):
    def forward(self, features):
        mean = self.layer(features.flatten(2)).reshape(*features.shape[:2], *self.frame)
        return Gaussian(mean, torch.tanh(self.logvar).to(mean).expand_as(mean))


# Terms -------------------------------------------------------------------------------------------


class Term(RegularizerConfig):
    """A term of the loss."""


class Plain(Regularizer):
    def forward(self, out):
        return out.latents["s"].pooled().square().sum(1)


class PlainCritic(Critic):
    def __init__(self):
        super().__init__()
        self.optimizer = OptimizerConfig()
        self.layer = nn.Linear(2, 1)

    def forward(self, out):
        return self.layer(out.latents["s"].pooled()).square().mean()


@broken(Term, r"got the term of shape \(\), expected \(1,\)")
class Reduced(Plain):
    def forward(self, out):
        return super().forward(out).mean()


@broken(Term, "keep the rows of a batch apart")
class Coupled(Plain):
    def forward(self, out):
        value = super().forward(out)
        return value.mean().expand_as(value)


@broken(Term, "permute its rows with those of the batch")
class RowByRow(Plain):
    def forward(self, out):
        value = super().forward(out)
        return value * torch.arange(len(value))


@broken(Term, "return the same twice from the same noise")
class OwnGenerator(Plain):
    def forward(self, out):
        return super().forward(out) * np.random.default_rng().random()


@broken(Term, "not see what stands in the padding")
class UnmaskedKL(Plain):
    def forward(self, out):
        return out.latents["s"].elementwise_kl().sum((1, 2))


@broken(Term, "what stands in the padding into its gradient.*differs by nan")
class TooLate(Plain):
    def forward(self, out):
        s = out.latents["s"]
        spread = (s.posterior.logvar - s.posterior.logvar[:, :1]).sum(2) * out.latents["z"].mean[
            :, :1
        ]
        return torch.where(s.mask, spread, 0.0).sum(1)


@broken(Term, "hand a gradient to the model.*got a term without a graph")
class Graphless(Plain):
    def forward(self, out):
        return super().forward(out.detach())


@broken(Term, "draw from its own streams of noise.*it drew from /posterior/z")
class Borrowing(Plain):
    def forward(self, out):
        noise = out.once("root", lambda live: live._streams)
        value = super().forward(out)
        return value * noise.of("posterior").of("z").uniform(value)


@broken(Term, "train by a Critic.*got layer.weight")
class Ownerless(Plain):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1, bias=False)

    def forward(self, out):
        return self.layer(out.latents["s"].pooled()).square().sum(1)


@broken(Term, "give its kl_coefficients and replaces_kl by latents that the model has: got w")
class Elsewhere(Plain):
    kl_coefficients: ClassVar = {"w": -1.0}


@broken(Term, "give its kl_coefficients and replaces_kl by latents that the model has: got v")
class ElsewhereReplaced(Plain):
    replaces_kl: ClassVar = ("v",)


@broken(Term, "hand a gradient to every parameter: got none for unused")
class UnusedCritic(Plain):
    def __init__(self):
        super().__init__()
        self.critic = PlainCritic()
        self.critic.unused = nn.Parameter(torch.ones(()))


@broken(Term, r"got the critic's loss of shape \(1,\), expected \(\)")
class Unreduced(Plain):
    class Rows(PlainCritic):
        def forward(self, out):
            return self.layer(out.latents["s"].pooled()).square().sum(1)

    def __init__(self):
        super().__init__()
        self.critic = self.Rows()


@broken(Term, "hand a gradient to the model, and leave all parameters as they are: .* differs")
class TrainsItself(Plain):
    def __init__(self):
        super().__init__()
        self.critic = PlainCritic()

    def forward(self, out):
        with torch.no_grad():
            self.critic.layer.bias += 0.1
        return super().forward(out)


@broken(Term, "moves nothing but the critic: the model's .* got a gradient")
class Leaking(Plain):
    class Live(PlainCritic):
        def forward(self, out):
            return super().forward(out._live)

    def __init__(self):
        super().__init__()
        self.critic = self.Live()


@frozen(kw_only=True)
class NeverZero(RegularizerConfig):
    """A weight that cannot be switched off."""

    name: ClassVar[str] = "never-zero"
    weight: float = attrs.field(default=1.0, validator=attrs.validators.gt(0.0))

    def build(self, shapes):
        return Plain()


claim = "change no gradient of the model at weight 0: it raised ValueError: .*'weight' must be > 0"
BROKEN += [pytest.param(NeverZero, claim, id="never-zero")]


# Estimators --------------------------------------------------------------------------------------


class Estimator(MIEstimatorConfig):
    """An estimator of mutual information."""


class Correlation(MIEstimator):
    bound, shift, spread = "none", 0.0, 0.0

    def estimate(self, a, b, noise):
        rho = torch.corrcoef(torch.stack([a.sample[:, 0], b.sample[:, 0]]))[0, 1]
        value = float(-0.5 * torch.log1p(-rho.square())) + self.shift
        value += self.spread * float(torch.rand((), generator=torch.Generator()))
        return Estimate(value=value, stderr=0.0, bound=self.bound, n=len(a.sample))


@broken(Estimator, r"find I = 0.5108 nats .* got 0.79.* expected 0.3908 to 0.6308")
class TooHigh(Correlation):
    shift = 0.3


@broken(Estimator, r"find I = 0.5108 nats .*\(lower bound\), expected 0.3908 to 0.5308")
class AboveItsBound(Correlation):
    bound, shift = "lower", 0.08


@broken(
    Estimator, "offer no critic, or declare offers_critic = True: got Pair, expected a TypeError"
)
class Undeclared(Correlation):
    class Pair(PairCritic):
        def forward(self, a, b):
            return a.sample.sum(1)

        def loss(self, positive, negative):
            return self(*positive).mean(), {}

    def critic(self, shapes):
        return self.Pair()


@broken(Estimator, "offer a critic for some pair .* TypeError: .* offers no critic",
        offers_critic=True)  # fmt: skip
class Promised(Correlation):
    pass


# Tasks and data sets -----------------------------------------------------------------------------


class TaskBase(TaskConfig):
    """An evaluation."""


def task(claim):
    """Make a function a task that breaks a claim."""

    def component(function):
        module = type(function.__name__, (), {"__call__": staticmethod(function)})
        globals()[function.__name__] = broken(TaskBase, claim)(module)
        return globals()[function.__name__]

    return component


@task("leave the model's modes.*: its modes changed")
def Evaluating(model, splits, noise):  # noqa: N802
    model.eval()
    return TaskResult()


@task("leave the model's modes.*: its gradients changed")
def Zeroing(model, splits, noise):  # noqa: N802
    model.zero_grad()
    return TaskResult()


@task("got nan as metric 'share'")
def NotANumber(model, splits, noise):  # noqa: N802
    return TaskResult(metrics={"share": float("nan")})


@task("figure 'map' is no PNG")
def NoPicture(model, splits, noise):  # noqa: N802
    return TaskResult(figures={"map": b"<svg/>"})


@task("find the same from the same noise: its metrics differ: 'draw'")
def Random(model, splits, noise):  # noqa: N802
    return TaskResult(metrics={"draw": float(np.random.default_rng().random())})


@task("find the same from the same noise: it moved torch's global generator")
def Shuffling(model, splits, noise):  # noqa: N802
    torch.randperm(3)
    return TaskResult()


@task("work without a valid part: it raised IndexError")
def NeedsValid(model, splits, noise):  # noqa: N802
    return TaskResult(notes=[str(splits.valid[0]["x"].shape)])


def parts(rng, fitted=None):
    mean = float(rng.normal()) if fitted is None else fitted["mean"]
    x = rng.normal(size=(9, 4, 3)) - mean
    return Splits(train=list(x[:5]), valid=[], test=list(x[5:]), fitted={"mean": mean})


@frozen(kw_only=True)
class UnseededData(DatasetConfig):
    """Other items each time."""

    name: ClassVar[str] = "unseeded"

    def build(self, request):
        return parts(np.random.default_rng())


@frozen(kw_only=True)
class ForgetsFitted(DatasetConfig):
    """What was fitted changes how much is drawn."""

    name: ClassVar[str] = "forgets-fitted"

    def build(self, request):
        return parts(np.random.default_rng(request.seed), request.fitted)


@frozen(kw_only=True)
class Downloads(DatasetConfig):
    """Asks a server."""

    name: ClassVar[str] = "downloads"

    def build(self, request):
        import urllib.request

        with urllib.request.urlopen("http://127.0.0.1:9/data") as answer:
            return answer.read()


BROKEN += [
    pytest.param(UnseededData, "give the same items for the same seed: x of train", id="data-1"),
    pytest.param(ForgetsFitted, "what it fitted, written as JSON .*: x of train", id="data-2"),
    pytest.param(Downloads, "without a network: it raised URLError.*no network", id="data-3"),
]

# Settings ----------------------------------------------------------------------------------------


class Undecorated(BackboneConfig):
    """A setting that attrs does not know."""

    name: ClassVar[str] = "undecorated"
    width: int = 3

    def build(self, shapes):
        return Backbone()


@frozen(kw_only=True)
class Undocumented(StandInBackbone):
    name: ClassVar[str] = "undocumented"


@frozen(kw_only=True)
class Shouting(StandInBackbone):
    """A name that is not kebab-case."""

    name: ClassVar[str] = "Shouting_Name"


@frozen(kw_only=True)
class Listed(StandInBackbone):
    """A setting that cannot be hashed."""

    name: ClassVar[str] = "listed"
    widths: list[int] = attrs.field(factory=lambda: [3])


@frozen(kw_only=True)
class Computed(StandInBackbone):
    """A setting of a type that no TOML holds."""

    name: ClassVar[str] = "computed"
    scale: complex = 1j


BROKEN += [
    pytest.param(Undecorated, "'width' is none: decorate it with @frozen", id="settings-1"),
    pytest.param(Undocumented, "have a name .* and a docstring: got no docstring", id="settings-2"),
    pytest.param(Shouting, "name in kebab-case .*: got the name 'Shouting_Name'", id="settings-3"),
    pytest.param(Listed, "be hashable.*TypeError: unhashable type: 'list'", id="settings-4"),
    pytest.param(Computed, "survive the way through plain data and through TOML", id="settings-5"),
]


@pytest.mark.parametrize(("component", "claim"), BROKEN)
def test_a_broken_component_is_found_by_the_claim_that_it_breaks(component, claim):
    with pytest.raises(AssertionError, match=claim) as caught:
        check_component(component())
    kind = component.kind.replace("mi_estimator", "MI estimator")
    assert str(caught.value).startswith(f"{kind} '{component.name}' must ")


def test_a_component_that_cannot_be_pickled_is_found():
    @frozen(kw_only=True)
    class Local(StandInBackbone):
        """A class that nobody can import."""

        name: ClassVar[str] = "local"

    with pytest.raises(AssertionError, match="must survive pickling: it raised"):
        check_component(Local())


def test_a_component_for_other_shapes_names_why_it_refused_the_small_ones():
    with pytest.raises(AssertionError, match=r"be checked with `shapes`: all were refused: no "):
        check_component(OnW())


@frozen(kw_only=True)
class OnW(RegularizerConfig):
    """A term on a latent w."""

    name: ClassVar[str] = "on-w"

    def build(self, shapes):
        shapes.latent("w")
        return Plain()


# What is declared, and right ---------------------------------------------------------------------


@frozen(kw_only=True)
class DeclaredTemporal(StandInBackbone):
    """Neighbours, declared."""

    name: ClassVar[str] = "declared-temporal"

    def build(self, shapes):
        module = Neighbours(shapes.frame, 6)
        module.temporal = True
        return module


@frozen(kw_only=True)
class DeclaredAutoregressive(StandInDecoder):
    """The frame before, declared."""

    name: ClassVar[str] = "declared-autoregressive"

    def build(self, shapes):
        return PreviousFrame(shapes, (5,), ())


@frozen(kw_only=True)
class DeclaredRecurrent(StandInDecoder):
    """An LSTM, declared."""

    name: ClassVar[str] = "declared-recurrent"

    def build(self, shapes):
        module = Recurrent(shapes, (5,), ())
        module.differentiable_forward = False
        return module


@frozen(kw_only=True)
class DeclaredCoupled(RegularizerConfig):
    """A mean over the batch, declared."""

    name: ClassVar[str] = "declared-coupled"
    couples_batch: ClassVar[bool] = True
    min_batch: ClassVar[int] = 3

    def build(self, shapes):
        return Coupled()


@frozen(kw_only=True)
class WithCritic(RegularizerConfig):
    """A term with a critic of its own."""

    name: ClassVar[str] = "with-critic"

    def build(self, shapes):
        term = Plain()
        term.critic = PlainCritic()
        return term


STAND_INS = [StandInBackbone, StandInEncoder, StandInPrior, StandInDecoder, StandInLikelihood]


@pytest.mark.parametrize(
    "component",
    [
        *STAND_INS,
        DeclaredTemporal,
        DeclaredAutoregressive,
        DeclaredRecurrent,
        DeclaredCoupled,
        WithCritic,
    ],
    ids=lambda component: component.name,
)
def test_what_is_right_or_declared_passes(component):
    check_component(component())


def test_stand_ins_keep_the_contract_for_images_and_local_features_too():
    for component in STAND_INS:
        check_component(component(), shapes=small_shapes(frame=(1, 4, 3)))
