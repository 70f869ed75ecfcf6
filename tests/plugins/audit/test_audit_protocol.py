"""What encode and decode may give, and what is said where they give something else."""

import functools
import weakref
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from linear import LOGVAR, SLOPES, USED, decode, encode, inputs
from torch import nn
from torch.distributions import Independent, Laplace, Normal

from seqvae_audit import audit
from seqvae_audit.asking import Asked, asked, run
from seqvae_audit.callables import Callables, callables_of
from seqvae_audit.options import Options
from seqvae_audit.protocol import mean_of, posterior_of
from seqvae_audit.wrapped import Form
from seqvae_core.components import TaskResult
from seqvae_core.errors import ConfigError, DataError, ShapeError
from seqvae_core.plugins import Plugins
from seqvae_core.records import Splits

X = inputs(200)
MEAN, VARIANCE = encode(X[:5])[0], LOGVAR.expand(5, 4)
SCALE = torch.exp(0.5 * VARIANCE)
Given = namedtuple("Given", ["z", "mu", "log_var"])

POSTERIORS = {
    "a pair": (MEAN, VARIANCE),
    "a list": [MEAN, VARIANCE],
    "numpy arrays": (MEAN.numpy(), VARIANCE.numpy()),
    "float64": (MEAN.double(), VARIANCE.double()),
    "a Normal": Normal(MEAN, SCALE),
    "an independent Normal": Independent(Normal(MEAN, SCALE), 1),
    "mean and logvar": SimpleNamespace(mean=MEAN, logvar=VARIANCE),
    "mu and log_var in a named tuple of three": Given(MEAN + 1.0, MEAN, VARIANCE),
    "loc and scale": SimpleNamespace(loc=MEAN, scale=SCALE),
    "a dict": {"embedding": MEAN, "log_covariance": VARIANCE},
    "a latent_dist": SimpleNamespace(latent_dist=SimpleNamespace(mean=MEAN, logvar=VARIANCE)),
    "one log variance for all": (MEAN, LOGVAR),
}


@pytest.mark.parametrize("given", POSTERIORS.values(), ids=POSTERIORS)
def test_a_posterior_may_be_given_in_many_ways(given):
    mean, logvar = posterior_of(given)
    assert torch.allclose(mean.float(), MEAN)
    assert torch.allclose(logvar.float(), VARIANCE, atol=1e-5)
    assert mean.shape == logvar.shape


OTHERS = {
    "a sample alone": (MEAN, "an array of shape (5, 4)"),
    "three things": ((MEAN, MEAN, VARIANCE), "a tuple of 3"),
    "nothing": (None, "None"),
    "a mean alone": (SimpleNamespace(mean=MEAN), "SimpleNamespace"),
    "an empty dict": ({}, "a dict with nothing"),
    "another distribution": (Laplace(MEAN, SCALE), "the distribution Laplace"),
    "words": (("mean", "logvar"), "a tuple of 2"),
}


@pytest.mark.parametrize(("given", "words"), OTHERS.values(), ids=OTHERS)
def test_what_is_no_posterior_is_said_with_what_was_expected(given, words):
    with pytest.raises(ShapeError) as error:
        posterior_of(given)
    assert words in str(error.value)
    assert "expected (mean, logvar), a torch.distributions.Normal" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_log_variance_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match=r"\(5, 4\) and a log variance of shape \(5, 3\)"):
        posterior_of((MEAN, VARIANCE[:, :3]))


@pytest.mark.parametrize(
    "given",
    [MEAN, MEAN.numpy(), Normal(MEAN, SCALE), SimpleNamespace(sample=MEAN),
     {"reconstruction": MEAN}],
)  # fmt: skip
def test_the_mean_of_x_may_be_given_in_many_ways(given):
    assert torch.equal(mean_of(given), MEAN)


def test_decode_that_gives_no_array_is_said():
    with pytest.raises(ShapeError, match=r"decode\(z\) returned a tuple of 2; expected the mean"):
        mean_of((MEAN, VARIANCE))


# Where the functions come from ------------------------------------------------------------------


class Plain:
    """An object that is no module and holds one."""

    def __init__(self):
        self.net = nn.Dropout(0.9)

    def encode(self, x):
        return encode(self.net(x))

    def decode(self, z):
        return decode(z)


@pytest.mark.parametrize(
    "model",
    [(encode, decode), {"encode": encode, "decode": decode}, Plain(),
     SimpleNamespace(encode=encode, decode=decode)],
)  # fmt: skip
def test_a_model_may_be_given_in_many_ways(model):
    found = audit(model=model, data=X, tasks=[])
    assert found.content["warnings"] == []
    assert found.verdict.of("matters") == (0, 1)


@pytest.mark.parametrize(
    ("model", "words"),
    [(7, "int without encode and decode"), (SimpleNamespace(encode=encode), "without decode"),
     ((encode, 3), "expected a function for decode, got int"), ({}, "dict without encode and")],
)  # fmt: skip
def test_what_is_no_model_is_said(model, words):
    with pytest.raises(ShapeError, match=words):
        callables_of(model, "it")


def test_encode_and_decode_come_both_or_not_at_all():
    with pytest.raises(ConfigError, match="expected encode and decode, or model"):
        audit(encode=encode, data=X)
    with pytest.raises(ConfigError, match="expected encode and decode, or model"):
        audit(data=X)


def test_the_modules_that_functions_use_are_seen_once():
    module = Plain()
    assert Callables.of(module.encode, module.decode).modules == (module.net,)
    net = nn.Linear(2, 2)
    assert Callables.of(net, lambda z: net(z)).modules == (net,)
    assert Callables.of(encode, decode, modules=[net]).modules == (net,)


class Normed(nn.Module):
    """Batch normalisation, whose statistics move in training mode."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4, affine=False)
        with torch.no_grad():
            self.norm.running_var.fill_(1.0 - 1e-5)

    def forward(self, x):
        return self.norm(x)


class Holding:
    """An object that holds a module in something else."""

    def __init__(self, held):
        self.held = held

    def encode(self, x):
        held = self.held
        while not isinstance(held, nn.Module):
            held = held["it"] if isinstance(held, dict) else held[0]
        return encode(held(x))


class Listing(nn.Module):
    """A module that holds another in a list, where torch does not see it."""

    def __init__(self, net):
        super().__init__()
        self.parts = [net]

    def encode(self, x):
        return encode(self.parts[0](x))


def encode_by(net, x):
    return encode(net(x))


def by_default(net):
    def function(x, inner=net):
        return encode(inner(x))

    return function


def by_keyword(net):
    def function(x, *, inner=net):
        return encode(inner(x))

    return function


HELD = {
    "a partial's argument": lambda net: functools.partial(encode_by, net),
    "a partial's keyword": lambda net: functools.partial(lambda x, net: encode(net(x)), net=net),
    "a default": by_default,
    "a keyword's default": by_keyword,
    "a list": lambda net: Holding([net]).encode,
    "a tuple in a dict": lambda net: Holding({"it": (net,)}).encode,
    "a list of a module": lambda net: Listing(net).encode,
    "a list in a list": lambda net: Holding([[net]]).encode,
}


@pytest.mark.parametrize("holder", HELD.values(), ids=HELD)
def test_modules_are_seen_wherever_a_function_holds_them_and_put_back(holder):
    net = Normed().train()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    found = audit(encode=holder(net), decode=decode, data=X + 1.0, tasks=[])
    assert not [line for line in found.content["warnings"] if "random" in line or "batch" in line]
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert net.training
    assert net.norm.training


def test_numpy_functions_get_numpy_arrays():
    slopes, used = SLOPES.numpy(), USED.numpy()

    def numpy_encode(x):
        assert isinstance(x, np.ndarray), "an array was expected"
        return x * slopes, np.broadcast_to(LOGVAR.numpy(), x.shape)

    def numpy_decode(z):
        return z * slopes * used

    found = audit(
        encode=numpy_encode, decode=numpy_decode, data=X.numpy(),
        tasks=["rates", "jacobian-columns", "influence"],
    )  # fmt: skip
    assert found.content["model"]["arrays"] == "numpy"
    assert found.verdict.of("matters") == (0, 1)
    assert {task["state"] for task in found.content["tasks"].values()} == {"done"}


def test_a_module_in_double_precision_gets_its_own_type():
    model = nn.ModuleDict({"scale": nn.Linear(4, 4, bias=False)}).double()
    nn.init.eye_(model["scale"].weight)
    found = audit(
        encode=lambda x: encode(model["scale"](x).float()),
        decode=lambda z: decode(model["scale"](z).float()), data=X, tasks=[],
    )  # fmt: skip
    assert found.content["model"]["type"] == "float64"


# What is looked at first ------------------------------------------------------------------------


def refused(words, error=ShapeError, *, given=X, **functions):
    with pytest.raises(error) as found:
        audit(**{"encode": encode, "decode": decode, **functions}, data=given, tasks=[])
    assert "\n" not in str(found.value)
    assert words in str(found.value), str(found.value)


def test_shapes_that_do_not_fit_are_said_with_what_was_got_and_expected():
    refused(
        "decode(z) returned x of shape (64, 3) for z of shape (64, 4); expected (64, 4)",
        decode=lambda z: z[:, :3],
    )
    refused("returned a mean of shape (64,) for 64 rows of x", encode=lambda x: (x[:, 0], x[:, 0]))
    refused(
        "returned a mean of shape (1, 4) for x of shape (64, 4)", encode=lambda x: (x[:1], x[:1])
    )
    refused(
        "returned a mean of shape (64, 2, 2); expected (N, D) or a map (N, C, H, W) for x of shape",
        encode=lambda x: (x.reshape(-1, 2, 2), x.reshape(-1, 2, 2)),
    )


def test_an_error_of_the_model_is_told_in_one_line_with_the_shape_that_it_got():
    refused(
        "encode(x) failed for x of shape (64, 4): RuntimeError: mat1 and mat2",
        encode=nn.Linear(7, 4),
    )


def on_eight(function, other):
    """Return a function that does something else with the last batch, of 8 of 200 rows."""
    return lambda value: (other if len(value) == 8 else function)(value)


def failing(value):
    raise RuntimeError("no batch\nof eight")


def whole(value):
    assert len(value) == 64
    return encode(value)


def narrow(value):
    mean, logvar = encode(value)
    return mean[:, :3], logvar[:, :3]


@pytest.mark.parametrize(
    ("functions", "words"),
    [
        ({"encode": on_eight(encode, failing)},
         "encode(x) failed for x of shape (8, 4): RuntimeError: no batch of eight"),
        ({"decode": on_eight(decode, failing)},
         "decode(z) failed for z of shape (8, 4): RuntimeError: no batch of eight"),
        ({"encode": whole}, "encode(x) failed for x of shape (8, 4): AssertionError"),
        ({"encode": on_eight(encode, narrow)},
         "encode(x) returned a mean of shape (8, 3) for x of shape (8, 4); expected (8, 4)"),
        ({"decode": on_eight(decode, lambda z: decode(z)[:, :3])},
         "decode(z) returned x of shape (8, 3) for z of shape (8, 4); expected (8, 4)"),
        ({"encode": on_eight(encode, lambda x: None)}, "encode(x) returned None; expected (mean,"),
    ],
    ids=["encode fails", "decode fails", "one size alone", "a narrow z", "a narrow x", "no z"],
)  # fmt: skip
def test_what_goes_wrong_with_a_later_batch_is_told_in_one_line_too(functions, words):
    refused(words, **functions)


def test_what_is_decoded_is_kept_for_a_batch_at_a_time():
    alive, most = set(), []

    def watched(z):
        found = decode(z)
        alive.add(id(found))
        weakref.finalize(found, alive.discard, id(found))
        most.append(len(alive))
        return found

    audit(encode=encode, decode=watched, data=X, tasks=[], options=Options(batch_size=8))
    # but for the first batch, which is tried whole: eight of eight
    assert max(most[32:]) <= 2


def test_nan_is_refused_where_it_arises():
    def encode_nan(x):
        mean, logvar = encode(x)
        return mean.index_fill(0, torch.tensor([3]), torch.nan), logvar

    refused(
        "the mean of encode(x) is NaN or infinite in 1 of 64 rows of a batch, row 3 first",
        DataError, encode=encode_nan,
    )  # fmt: skip
    refused("decode(z) is NaN or infinite", DataError, decode=lambda z: z / 0.0)


def test_sequences_of_several_lengths_are_refused_with_what_to_do():
    items = [torch.zeros(length, 2) for length in (3, 4, 5, 3)]
    refused(
        "sequences have 3 to 5 frames; encode and decode are told of no padding", DataError,
        given=Splits(train=items, valid=[], test=items),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("data", "words"),
    [(X[:1], "two or more rows"), (X[:, 0], "two or more rows"), ({"y": X}, "expected data with"),
     ({"x": X, "y": [1, 2]}, "label 'y': expected 200 rows"), ({"x": object()}, "x as an array")],
)  # fmt: skip
def test_data_that_cannot_be_audited_are_said(data, words):
    refused(words, DataError, given=data)


def warned(words, **functions):
    found = audit(**{"encode": encode, "decode": decode, **functions}, data=X, tasks=[])
    assert any(words in line for line in found.content["warnings"]), found.content["warnings"]


def test_an_encoder_that_samples_is_warned_of():
    warned(
        "encode is random: two calls on one batch differ",
        encode=lambda x: (encode(x)[0] + 0.3 * torch.randn_like(x), LOGVAR),
    )


def test_a_decoder_that_samples_is_warned_of():
    warned("decode is random", decode=lambda z: decode(z) + torch.randn_like(z))


def test_rows_that_depend_on_their_batch_are_warned_of():
    warned("depends on the others of its batch", encode=lambda x: encode(x - x.mean(0) + x.max()))


def test_a_standard_deviation_in_place_of_a_log_variance_is_warned_of():
    warned("is the second value a variance", encode=lambda x: (encode(x)[0], SCALE[:1]))


def test_x_of_another_scale_is_warned_of_with_both_ranges():
    warned(
        "Was the model trained on x of another scale",
        encode=lambda x: encode(x / 255.0), decode=lambda z: 9.0 + decode(z),
    )  # fmt: skip
    found = audit(encode=encode, decode=lambda z: 50.0 * z, data=X, tasks=[])
    assert "x is within -2.8" in found.content["warnings"][0]


def test_a_good_model_is_warned_of_nothing():
    assert audit(encode=encode, decode=decode, data=X, tasks=[]).content["warnings"] == []


# Tasks ------------------------------------------------------------------------------------------


def test_labels_are_used_where_they_are_and_missed_where_they_are_not():
    plain = audit(encode=encode, decode=decode, data=X)
    assert plain.content["tasks"]["probe"]["why"] == "the data have no labels"
    labels = np.where(X[:, 0].numpy() > 0.0, "high", "low")
    model = Plain()
    found = audit(model=model, data={"x": X, "sign": labels}, tasks=["probe"])
    assert found.content["tasks"]["probe"]["state"] == "done"
    assert found.content["tasks"]["probe"]["metrics"]["sign/z/linear"] > 0.9


def test_a_comparison_with_an_untrained_copy_is_refused_where_there_is_none():
    """A plain function keeps its weights in any copy: it would be compared with itself."""
    labels = (X[:, 0] > 0.0).long()
    found = audit(encode=encode, decode=decode, data={"x": X, "y": labels}, tasks=["probe"])
    assert found.content["tasks"]["probe"]["state"] == "not applicable"
    assert "cannot be copied with their weights" in found.content["tasks"]["probe"]["why"]


def test_an_unknown_task_is_refused_before_the_work_is_done():
    said = []
    with pytest.raises(ConfigError, match="unknown task 'prob'; did you mean 'probe'"):
        audit(encode=encode, decode=decode, data=X, tasks=["prob"], watch=said.append)
    assert said == []


def test_a_bare_name_stands_for_the_task_as_an_audit_sets_it():
    plugins, form = Plugins.load(), Form(kind="vector", latent=(4,), frame=(4,))
    standard = {each.name: each for each in asked(plugins, form, [3, 1], labelled=False)}
    assert standard["traverse"].config.codes == ("z[3,1]",)
    for named in asked(plugins, form, [3, 1], labelled=False, tasks=["traverse", "probe"]):
        assert named == standard[named.name]
    [own] = asked(plugins, form, [3, 1], labelled=False, tasks=[{"name": "traverse"}])
    assert own.config != standard["traverse"].config


def test_two_tasks_of_one_name_are_refused_and_a_label_parts_them():
    tasks = [{"name": "rates"}, {"name": "rates"}]
    said = []
    with pytest.raises(ConfigError, match="task 'rates' is asked for twice; a 'label'"):
        audit(encode=encode, decode=decode, data=X, tasks=tasks, watch=said.append)
    assert said == []
    tasks[1]["label"] = "again"
    found = audit(encode=encode, decode=decode, data=X, tasks=tasks)
    assert set(found.content["tasks"]) == {"rates", "again"}


def test_only_what_says_so_is_the_reason_for_a_task_that_is_not_applicable():
    notes = ["50 of 200 sequences", "not applicable: no labels", "y: not applicable, one class"]
    config = SimpleNamespace(build=lambda shapes: lambda *_: TaskResult(notes=notes))
    model = SimpleNamespace(shapes=None)
    ran = run(Asked(name="it", config=config), model, Splits(train=[], valid=[], test=[]), 0)
    assert (ran.state, ran.why) == ("not applicable", "no labels; y: not applicable, one class")


def test_a_task_that_fails_ends_itself_alone():
    def fragile(z):
        if len(z) == 1:
            raise RuntimeError("not one")
        return decode(z)

    found = audit(
        encode=encode, decode=fragile, data=X, tasks=["jacobian-columns", "rates"]
    )  # fmt: skip
    tasks = found.content["tasks"]
    assert tasks["rates"]["state"] == "done"
    assert tasks["jacobian-columns"]["state"] == "failed"
    assert tasks["jacobian-columns"]["why"] == (
        "decode(z) failed for z of shape (1, 4): RuntimeError: not one"
    )
    assert any("jacobian" in each["what"] for each in found.content["not_applicable"])
