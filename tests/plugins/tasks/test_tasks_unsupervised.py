"""Values of categorical latents as classes: known assignments, and the parts they are fitted on."""

import numpy as np
import pytest
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from seqvae_basics.config import Identity
from seqvae_basics.distributions import Gaussian, GumbelCategorical
from seqvae_core.components import Encoder
from seqvae_core.functional import masked_mean
from seqvae_core.records import Noise, Splits, Variable
from seqvae_core.testing.small import small_model, small_shapes
from seqvae_tasks.config_codes import UnsupervisedClassification
from seqvae_tasks.unsupervised import assign

K = 4
LATENTS = {
    "z": Variable(name="z", scope="global", shape=(K,)),
    "c": Variable(name="c", scope="global", shape=(K,), family="gumbel-categorical"),
    "d": Variable(name="d", scope="local", shape=(K,), family="gumbel-categorical"),
}
SHAPES = evolve(small_shapes(frame=(K,)), latents=LATENTS)


class Channels(Encoder):
    """The logits of c are the frames' mean, of d the frames; z is the same without noise."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(5.0))

    def forward(self, features, mask, draw):
        mean = masked_mean(features, mask)
        draw("z", Gaussian(mean, torch.full_like(mean, -4.0)))
        draw("c", GumbelCategorical(self.scale * mean))
        draw("d", GumbelCategorical(self.scale * features))


def model_of():
    model = small_model(SHAPES, backbone=Identity())
    model.encoder = Channels()
    return model


def items(values, speakers):
    """Return sequences of three frames whose code is `values`; the phone is that of the frame."""
    eye = torch.eye(K)
    return [
        {"x": eye[[value] * 3], "speaker": speaker, "phone": torch.tensor([value] * 3)}
        for value, speaker in zip(values, speakers, strict=True)
    ]


def run(train, test, valid=(), seed=0, **settings):
    data = Splits(train=train, valid=list(valid), test=test, classes={"speaker": ("a", "b", "c")})
    config = UnsupervisedClassification(resamples=50, **settings)
    model = model_of()
    return config.build(model.shapes)(model, data, Noise(seed))


def test_a_code_that_is_a_class_scores_1_and_its_table_is_a_permutation():
    values = [0, 1, 2] * 6
    speakers = [(value + 1) % 3 for value in values]
    found = run(items(values, speakers), items(values[:9], speakers[:9]), labels=("speaker",))
    for way in ("majority", "hungarian", "transductive majority", "transductive hungarian"):
        assert found.metrics[f"speaker/c/{way}"] == 1.0
    assert found.metrics["speaker/chance"] == pytest.approx(1 / 3)
    table = found.tables["speaker: test sequences by value of c"]
    assert [[row[name] for name in "abc"] for row in table] == [
        [0, 3, 0], [0, 0, 3], [3, 0, 0], [0, 0, 0],
    ]  # fmt: skip


def test_two_values_of_one_class_are_both_right_by_majority_and_one_of_them_one_to_one():
    values, speakers = [0, 1, 2, 3] * 5, [0, 0, 1, 2] * 5
    found = run(items(values, speakers), items(values, speakers), labels=("speaker",))
    assert found.metrics["speaker/c/majority"] == 1.0
    assert found.metrics["speaker/c/hungarian"] == 0.75


def test_the_mapping_is_fitted_on_one_part_and_scored_on_another():
    """On the test part the classes are dealt otherwise: what was learnt there does not help."""
    values = [0, 1, 2] * 4
    train, test = items(values, values), items(values, [(v + 1) % 3 for v in values])
    found = run(train, test, labels=("speaker",)).metrics
    assert found["speaker/c/majority"] == 0.0
    assert found["speaker/c/transductive majority"] == 1.0
    valid = run(train, test, valid=test, fit="valid", labels=("speaker",)).metrics
    assert valid["speaker/c/majority"] == 1.0


def test_local_codes_are_read_frame_by_frame_for_labels_of_either_scope():
    values = [0, 1, 2] * 4
    found = run(items(values, values), items(values, values))
    assert found.metrics["phone/d/hungarian"] == 1.0
    assert found.metrics["speaker/d/majority"] == 1.0
    assert {"speaker/chance", "speaker/chance per frame", "phone/chance"} <= found.metrics.keys()
    assert "phone/c/majority" not in found.metrics
    assert any(note.startswith("phone: not applicable to 'c'") for note in found.notes)


def test_k_means_of_the_gaussian_latents_stands_beside():
    values = [0, 1, 2, 3] * 5
    found = run(items(values, values), items(values, values), labels=("speaker",)).metrics
    assert found["speaker/4-means of z/hungarian"] == 1.0
    without = run(items(values, values), items(values, values), control=False).metrics
    assert not [name for name in without if "means" in name]


def test_missing_labels_and_numbers_are_not_classes():
    values = [0, 1, 2] * 4
    test = items(values, values)
    for item in test[::2]:
        item["speaker"] = -1
    found = run(items(values, values), test, labels=("speaker",))
    assert found.metrics["speaker/c/majority"] == 1.0
    assert sum(sum(row[n] for n in "abc") for row in found.tables[
        "speaker: test sequences by value of c"]) == 6  # fmt: skip
    numbers = [{"x": item["x"], "pitch": 0.5} for item in test]
    other = run(numbers, numbers, labels=("pitch", "nothing"))
    assert sum("the data have no such class" in note for note in other.notes) == 4


@pytest.mark.parametrize(
    ("model", "settings", "why"),
    [
        (small_model(), {}, "not applicable: the model has no categorical latent"),
        (model_of(), {"fit": "valid"}, "not applicable: the valid part is empty"),
    ],
)
def test_where_it_does_not_apply_it_says_so_in_a_line(model, settings, why):
    data = Splits(train=items([0], [0]), valid=[], test=items([0], [0]))
    result = UnsupervisedClassification(**settings).build(model.shapes)(model, data, Noise(0))
    assert result.notes == [why]


@given(seed=st.integers(0, 2**31 - 1), size=st.integers(1, 6), classes=st.integers(1, 6))
def test_majority_is_never_below_one_to_one_nor_below_the_most_frequent_class(seed, size, classes):
    rng = np.random.default_rng(seed)
    values, target = rng.integers(size, size=50), rng.integers(classes, size=50)
    majority, matched = (
        float((assign(values, target, size, one_to_one=one)[values] == target).mean())
        for one in (False, True)
    )
    assert majority >= matched
    assert majority >= np.unique(target, return_counts=True)[1].max() / 50
    mapping = assign(values, target, size, one_to_one=True)
    assert len(set(mapping[mapping >= 0])) == (mapping >= 0).sum()


@given(seed=st.integers(0, 2**31 - 1))
def test_names_of_values_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    values, target = rng.integers(5, size=40), rng.integers(3, size=40)
    order = rng.permutation(5)
    for one in (False, True):
        here = assign(values, target, 5, one_to_one=one)[values]
        there = assign(order[values], target, 5, one_to_one=one)[order[values]]
        assert (here == target).sum() == (there == target).sum()
