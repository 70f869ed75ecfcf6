"""The rest of the kit: throw-away plugins, small material, strategies, and its page."""

import re
import subprocess
import sys
from pathlib import Path
from typing import ClassVar, Literal

import attrs
import pytest
import tiny
import torch
from attrs import field, frozen, validators
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import seqvae_basics
from seqvae_core.components import KINDS, BackboneConfig, EncoderConfig, MIEstimatorConfig
from seqvae_core.config import plain, structure, structure_component
from seqvae_core.errors import DuplicateComponentError, PluginError, UnknownComponentError
from seqvae_core.hookspecs import Preset, hookimpl
from seqvae_core.loading import check_splits, collate, data_shapes
from seqvae_core.plugins import Plugins
from seqvae_core.records import Noise, Shapes, Variable
from seqvae_core.settings import CONSTANT, OptimizerConfig, Schedule
from seqvae_core.testing import (
    check_component,
    check_plugin,
    plugins_with,
    small_batch,
    small_model,
    small_shapes,
    small_splits,
)
from seqvae_core.testing.standins import LinearBackbone, StandInBackbone, StandInEncoder
from seqvae_core.testing.strategies import batches, components, schedules, seeds
from seqvae_estimators.config import DensityRatio
from seqvae_tasks.config import MutualInformation

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plugins" / "testing.md"
BUILT_IN = Plugins.load(strict=True)


@frozen(kw_only=True)
class Mine(BackboneConfig):
    """A backbone under a name of its own."""

    name: ClassVar[str] = "mine"

    width: int = field(default=4, validator=validators.ge(1))

    def build(self, shapes):
        return LinearBackbone(shapes.frame, self.width)


# Throw-away plugins ------------------------------------------------------------------------------


def test_plugins_with_classes_knows_these_and_nothing_else():
    plugins = plugins_with(Mine, StandInEncoder)
    assert plugins.get("backbone", "mine") is Mine
    assert list(plugins.components("encoder")) == ["testing-encoder"]
    assert sum(len(plugins.components(kind)) for kind in KINDS) == 2


def test_plugins_with_a_base_add_to_it_and_leave_it_as_it_is():
    plugins = plugins_with(Mine, base=BUILT_IN)
    assert "mine" in plugins.components("backbone")
    assert plugins.components("backbone").keys() > BUILT_IN.components("backbone").keys()
    assert "mine" not in BUILT_IN.components("backbone")
    for kind in KINDS:
        assert plugins.components(kind).keys() >= BUILT_IN.components(kind).keys()
    plugins.require([f"{BUILT_IN.loaded[0].distribution}=={BUILT_IN.loaded[0].version}"])


def test_plugins_with_presets_and_modules_take_them_as_they_are():
    preset = Preset(name="study", summary="one", reference="none", data={})
    plugins = plugins_with(preset, seqvae_basics)
    assert plugins.get("preset", "study") is preset
    assert "framewise" in plugins.components("decoder")


def test_a_name_that_the_base_has_is_a_conflict_as_everywhere():
    class Identity(StandInBackbone):
        name = "identity"

    with pytest.raises(DuplicateComponentError, match="'basics' and 'throw-away'"):
        plugins_with(Identity, base=BUILT_IN).get("backbone", "identity")


def test_what_no_plugin_may_provide_is_refused():
    with pytest.raises(TypeError, match="expected a component class, a preset or hooks"):
        plugins_with(dict)
    with pytest.raises(PluginError, match=r"does not define build\(\)"):
        plugins_with(BackboneConfig)


# Whole plugins -----------------------------------------------------------------------------------


WIDTHS = []


@frozen(kw_only=True)
class Watched(Mine):
    """A backbone that tells of its builds."""

    def build(self, shapes):
        WIDTHS.append(self.width)
        return super().build(shapes)


class Hooks:
    @hookimpl
    def seqvae_backbones():
        return [Watched]

    @hookimpl
    def seqvae_tasks():
        return [MutualInformation]


def test_a_whole_plugin_is_checked_component_by_component():
    with pytest.raises(AssertionError, match="task 'mutual-information' has required fields"):
        check_plugin(Hooks)
    assert set(WIDTHS) == {4}
    task = MutualInformation(estimator=DensityRatio(steps=1))
    check_plugin(Hooks, [Watched(width=2), Watched(width=3), task])
    assert set(WIDTHS) == {2, 3, 4}


def test_a_component_that_no_plugin_provides_can_be_checked():
    with pytest.raises(UnknownComponentError):
        BUILT_IN.get("backbone", "mine")
    check_component(Mine())
    check_component(Mine(width=2), shapes=Shapes(frame=(2, 4, 4)))


# Small material ----------------------------------------------------------------------------------


def test_small_splits_are_data_that_a_model_can_be_trained_on():
    splits = check_splits(small_splits(train=7, valid=0, test=4))
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (7, 0, 4)
    shapes, expected = data_shapes(splits), small_shapes()
    assert shapes.frame == expected.frame
    assert shapes.labels == expected.labels
    batch = collate(splits.train)
    assert 0.0 <= float(batch.x.min()) <= float(batch.x.max()) < 1.0
    assert set(batch.labels["speaker"].tolist()) == {0, 1, 2}


def test_a_small_model_takes_the_parts_and_the_shapes_that_it_is_given():
    shapes = Shapes(
        frame=(2, 3, 3),
        latents={
            "c": Variable(name="c", scope="global", shape=(4,)),
            "motion": Variable(name="motion", scope="local", shape=(2, 3, 3), family="feature"),
        },
    )
    model = small_model(shapes, backbone=Mine())
    out = model.output(small_batch(shapes).x.nan_to_num().float())
    assert isinstance(model.backbone, LinearBackbone)
    assert model.shapes.latents == shapes.latents
    assert out.latents["motion"].sample.shape == (5, 7, 2, 3, 3)
    assert out.likelihood.mean.shape == (5, 7, 2, 3, 3)


@given(batches(), seeds())
def test_a_small_model_sees_no_padding(batch, seed):
    model = small_model().double()
    out, clean = (model(given, Noise(seed)) for given in (batch, batch.zeroed()))
    for name in ("z", "s"):
        assert torch.equal(out.latents[name].kl(), clean.latents[name].kl())


# Strategies --------------------------------------------------------------------------------------


@given(batches(small_shapes(frame=(2, 3, 4)), rows=3, frames=4))
def test_batches_have_junk_in_their_padding_and_nowhere_else(batch):
    assert len(batch) <= 3
    assert 1 <= int(batch.lengths.min()) <= int(batch.lengths.max()) <= 4
    assert batch.x.shape[2:] == (2, 3, 4)
    assert batch.x.dtype == torch.float64
    assert torch.equal(torch.isnan(batch.x).flatten(2).all(2), ~batch.mask)
    assert torch.isfinite(batch.x[batch.mask]).all()
    assert batch.labels.keys() == {"speaker", "phone", "pitch"}


@given(schedules(), st.integers(0, 60))
def test_schedules_are_factors_at_every_step(schedule, step):
    assert 0.0 <= schedule(step) <= 1.0


@frozen(kw_only=True)
class Layer:
    """A table within settings."""

    width: int = field(validator=validators.ge(1))
    kind: Literal["a", "b"] = "a"


ADAM = OptimizerConfig()


@frozen(kw_only=True)
class Many(EncoderConfig):
    """Settings of every type."""

    name: ClassVar[str] = "many"

    hidden: int = field(validator=[validators.ge(1), validators.le(30)])
    share: float = field(default=0.5, validator=[validators.ge(0.0), validators.lt(1.0)])
    layers: tuple[Layer, ...] = ()
    pair: tuple[float, float] = (0.0, 1.0)
    root: Path | None = None
    label: str = "none"
    bias: bool = True
    schedule: Schedule = CONSTANT
    optimizer: OptimizerConfig = ADAM
    estimator: MIEstimatorConfig | None = None

    def build(self, shapes):
        raise NotImplementedError


@given(components(Many))
def test_drawn_components_obey_their_validators_and_come_back_from_plain_data(config):
    attrs.validate(config)
    assert config.estimator is None
    assert structure_component("encoder", plain(config), plugins_with(Many)) == config


def test_drawn_components_reach_every_field_and_fill_slots_from_plugins():
    drawn = []

    @settings(max_examples=100)
    @given(components(Many, BUILT_IN))
    def collect(config):
        drawn.append(config)

    collect()
    default = Many(hidden=1)
    for attribute in attrs.fields(Many):
        values = {getattr(config, attribute.name) for config in drawn}
        assert values - {getattr(default, attribute.name)}, attribute.name


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_settings_of_every_registered_component_can_be_drawn(kind):
    @given(st.data())
    def draw(data):
        cls = data.draw(st.sampled_from(list(BUILT_IN.components(kind).values())))
        config = data.draw(components(cls, BUILT_IN))
        assume(type(config) is cls)
        assert structure_component(kind, plain(config), BUILT_IN) == config

    draw()


def test_a_required_slot_cannot_be_drawn_without_plugins():
    @given(components(MutualInformation))
    def draw(config):
        raise AssertionError

    with pytest.raises(TypeError, match="cannot draw estimator of MutualInformation without"):
        draw()


@given(components(Layer))
def test_a_table_within_settings_can_be_drawn_on_its_own(layer):
    assert structure(plain(layer), Layer, Plugins(strict=True)) == layer


# The page ----------------------------------------------------------------------------------------


def test_the_page_on_testing_is_a_test_file_that_passes(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "test_page.py").write_text("\n\n".join(blocks))
    # A busy machine draws slowly, which is no fault of the page.
    (tmp_path / "conftest.py").write_text(
        "from hypothesis import HealthCheck, settings\n"
        "settings.register_profile('quiet', deadline=None, "
        "suppress_health_check=[HealthCheck.too_slow])\n"
        "settings.load_profile('quiet')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_page.py"],
        cwd=tmp_path, capture_output=True, text=True, env=tiny.environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_message_on_the_page_is_the_one_that_is_raised(tmp_path):
    text = PAGE.read_text()
    (message,) = re.findall(r"^AssertionError: (.*)$", text, re.MULTILINE)
    first, *_ = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    broken = first.replace("masked_sum(steps, s.mask[:, self.lag :])", "steps.sum((1, 2))")
    assert broken != first
    (tmp_path / "slowness.py").write_text(broken)
    code = "import slowness, seqvae_core.testing as t; t.check_component(slowness.Slowness())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, capture_output=True, text=True,
        env=tiny.environment(PYTHONPATH=str(tmp_path)),
    )  # fmt: skip
    assert done.stderr.splitlines()[-1] == f"AssertionError: {message}"
