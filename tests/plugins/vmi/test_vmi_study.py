"""The study of VMI: its cells can be trained, and its page is made from the records there are."""

from pathlib import Path

import pytest

from seqvae_core.experiment import Experiment
from seqvae_core.plugins import Plugins
from seqvae_vmi import seqvae_studies, study, study_page, study_plot

PLUGINS = Plugins.load()
CELLS = study.STUDY.cells({"mnist": Path("{mnist}")})
FIGURES = {
    *study_page.GRID_COLUMNS.values(), *study_page.SPEECH_COLUMNS.values(),
    *study_page.COLUMNS.values(),
    f"{study_plot.DIGIT}/chance", "rates/ln N",
    *(f"curve/{name}/{step}" for name in ("hard", "soft", "kl") for step in (200, 400)),
}  # fmt: skip


def records(shift, *, groups=tuple(study.GROUPS), seeds=study.SEEDS):
    """Return records in which every figure is its arm's shift, a little moved by the seed."""
    return [
        {
            "key": cell.key, "seed": cell.seed, "group": cell.group, "cpu_seconds": 100.0,
            "figures": {
                **dict.fromkeys(FIGURES, shift(cell.key.split("/")[1]) * (1.0 + 1e-3 * cell.seed)),
                "rates/ln N": 8.7,
            },
        }
        for cell in CELLS
        if cell.seed in seeds and cell.group in groups
    ]  # fmt: skip


def page(found, folder):
    study_page.write(found, folder)
    return (folder / "vmi.md").read_text()


def test_the_plugin_offers_the_study():
    assert seqvae_studies() == [study.STUDY]


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.seed == 1], ids=lambda c: c.key)
def test_every_cell_is_an_experiment(cell):
    experiment = Experiment.load(cell.source, PLUGINS, cell.overrides)
    arm = cell.key.split("/")[1]

    assert [term.name for term in experiment.regularizers] == ["vmi"] * (arm != "vanilla")
    for term in experiment.regularizers:
        assert term.entropy == ("kept" if arm == study.KEPT else "dropped")
    if cell.group != "speech":
        assert experiment.train.steps == study.STEPS
        # nothing is chosen by the validation part: the last step alone is validated
        assert experiment.train.valid_every == study.STEPS
        assert experiment.train.keep * experiment.train.checkpoint_every == study.STEPS


def test_the_temperature_falls_over_the_short_runs_as_far_as_over_the_published_ones():
    cells = {cell.key: cell for cell in CELLS}
    annealed, fixed = (
        Experiment.load(
            "mnist-joint-vmi", PLUGINS, cells[study.key("mnist", "vmi", each, 1)].overrides
        ).model.latents["c"].categorical.temperature
        for each in ("annealed", "fixed")
    )  # fmt: skip
    assert fixed(study.STEPS) == fixed(0) == annealed(0) == 1.0
    for share in (0.1, 0.25, 0.5):
        published = max(2.718281828 ** (-1.5e-5 * share * study.PUBLISHED_STEPS), 0.3)
        assert annealed(int(share * study.STEPS)) == pytest.approx(published, rel=1e-6)


def test_the_arms_of_a_contrast_have_its_seeds():
    keys = {cell.key for cell in CELLS}
    for contrast in (*study.CONTRASTS, *study.KEPT_CONTRASTS):
        for arm in (contrast.arm, "vanilla"):
            assert {study.key("mnist", arm, contrast.temperature, s) for s in study.SEEDS} <= keys


@pytest.mark.parametrize(
    ("vmi", "verdict"), [(1.0, "**confirmed**"), (0.0, "**refuted**"), (0.5, "**undecided**")]
)
def test_a_difference_that_all_seeds_share_is_confirmed_or_refuted(tmp_path, vmi, verdict):
    found = records(lambda arm: 0.5 if arm == "vanilla" else vmi)
    if vmi == 0.5:
        for record in found:
            for name in record["figures"]:
                record["figures"][name] += (-1) ** record["seed"] * ("/vmi" in record["key"])
    text = page(found, tmp_path)

    assert text.count(verdict) == len(study.CONTRASTS) + len(study.KEPT_CONTRASTS)
    assert "VMI - VAE over 3 seeds, not tested" in text
    assert (tmp_path / "vmi.png").stat().st_size > 10_000


def test_nothing_is_tested_before_all_seeds_are_there(tmp_path):
    text = page(records(lambda arm: 1.0, seeds=(1, 2)), tmp_path)

    tests = len(study.CONTRASTS) + len(study.KEPT_CONTRASTS)
    assert text.count("not all seeds are there") == tests
    assert "confirmed" not in text


@pytest.mark.parametrize("group", study.GROUPS)
def test_a_page_is_made_from_the_records_of_one_group_alone(tmp_path, group):
    (tmp_path / "vmi-grid-vmi.png").write_bytes(b"picture")
    text = page(records(lambda arm: 1.0, groups=(group,)), tmp_path)

    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    digits = study.GROUPS["confirmatory"]
    more = {"entropy": ["With H(c) kept", digits]}.get(group, [study.GROUPS[group]])
    assert headings == ["What is tested", *more]
    assert ("vmi-grid-vmi.png" in text) == (group == "gaussian")
    assert "vmi-grid-vanilla.png" not in text


def test_one_record_is_enough_for_a_page(tmp_path):
    [record, *_] = records(lambda arm: 1.0)
    text = page([record], tmp_path)

    assert "6,003 training images" in text
