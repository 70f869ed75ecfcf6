"""The study of VMI: its cells can be trained, and its page is made from the records there are."""

from pathlib import Path

import pytest

from seqvae_core.experiment import Experiment
from seqvae_core.plugins import Plugins
from seqvae_vmi import seqvae_studies, study, study_notes, study_page, study_plot

PLUGINS = Plugins.load()
CELLS = study.STUDY.cells({"mnist": Path("{mnist}")})
FIGURES = {
    *study_page.GRID_COLUMNS.values(), *study_page.SPEECH_COLUMNS.values(),
    *study_page.COLUMNS.values(),
    f"{study_plot.DIGIT}/chance", "rates/ln N",
    *(f"curve/{name}/{step}" for name in ("hard", "soft", "kl") for step in (200, 400)),
}  # fmt: skip

TESTS = len(study.CONTRASTS) + len(study.KEPT_CONTRASTS) + 1  # and one of speech


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

    assert text.count(verdict) == TESTS
    assert "VMI - VAE over 5 seeds. One contrast is tested" in text
    assert (tmp_path / "vmi.png").stat().st_size > 10_000


def test_nothing_is_tested_before_all_seeds_are_there(tmp_path):
    text = page(records(lambda arm: 1.0, seeds=(1, 2)), tmp_path)

    assert text.count("not all seeds are there") == TESTS
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


def changed(found, figures, *, data="mnist", arm=None):
    """Return the records of a data set, or an arm of it, with other figures."""
    start = f"{data}/{arm}/" if arm else f"{data}/"
    return [
        {**record, "figures": {**record["figures"], **figures}}
        if record["key"].startswith(start)
        else record
        for record in found
    ]


def test_a_code_of_one_value_is_marked_where_its_kl_is_shown(tmp_path):
    found = changed(records(lambda arm: 1.0), {study_notes.H_OF_C: 0.001}, arm="vmi")
    text = page(found, tmp_path)
    marked = [line for line in text.splitlines() if study_notes.MARK in line]

    assert [line.split("|")[1].strip() for line in marked] == ["KL of c, nats"] * 2 + ["KL of c"]
    assert text.count(study_notes.COLLAPSED) == 2
    assert study_notes.MARK not in page(records(lambda arm: 1.0), tmp_path)


def test_the_page_says_how_many_qs_had_stopped_improving(tmp_path):
    found = records(lambda arm: 1.0)
    found = changed(found, {"bound-c/prior/converged": 1.0, "bound-z/prior/converged": 0.0})
    found = changed(found, {"bound-c/prior/converged": 0.0}, arm=study.KEPT)
    found = changed(found, {"bound-z/posterior/converged": 1.0}, data="japanese-vowels")
    text = page(found, tmp_path)

    assert "| c, hard, prior | 5 of 5 | 5 of 5 | 0 of 5 | 5 of 5 | 5 of 5 |" in text
    assert "| z[:2], prior |" + " 0 of 5 |" * 5 in text
    assert "in 20 of 20 of the bounds of this table" in text
    assert "in 5 of 10 of the bounds of this table" in text
    assert "Q had stopped improving in 10 of 10 (z[:2], posterior); a Q that had not" in text


def test_linear_qs_together_are_shown_and_the_better_bound_is_told_by_arm(tmp_path):
    figures = {
        f"bound-z/prior/{name}": value
        for name, value in {
            "joint/entropy": 2.0, "z[0]/entropy": 1.1, "z[1]/entropy": 1.1,
            "z[0]/linear": 0.5, "z[1]/linear": 0.25,
        }.items()
    }  # fmt: skip
    found = records(lambda arm: 0.1)
    for record in found:
        del record["figures"]["bound-z/prior/joint/linear"]
    text = page(changed(found, figures), tmp_path)

    assert study_notes.with_linear({"figures": figures})["figures"][
        "bound-z/prior/joint/linear"
    ] == pytest.approx(2.0 + 0.5 + 0.25 - 2.2)
    assert "is not tested" in text
    for arm, temperature in study.JOINT:
        assert f"0.55 ({study.ARMS[arm]}, {study.TEMPERATURES[temperature]})" in text


def test_what_pairs_from_the_posterior_measure_is_told_with_the_numbers_of_the_records(tmp_path):
    figures = {"bound-c/posterior/c": 1.75, "bound-c/prior/c": 0.25}
    text = page(changed(records(lambda arm: 1.0), figures, arm=study.KEPT), tmp_path)

    assert "is 1.75 nats here, of pairs from the prior 0.25." in text


@pytest.mark.parametrize(
    ("shift", "words"),
    [(0.0, "**undecided**; z[2:]"), (0.5, "**confirmed**; z[2:]"), (-0.5, "**refuted**; z[2:]")],
)  # fmt: skip
def test_of_speech_it_is_said_whether_the_speaker_moves_into_two_numbers(tmp_path, shift, words):
    found = records(lambda arm: 1.0, groups=("speech",))
    for record in found:
        moved = (shift + 0.01 * (-1) ** record["seed"]) * ("/vmi/" in record["key"])
        record["figures"]["probe/speaker/z[:2]/linear"] += moved
        record["figures"]["probe/speaker/z[2:]/linear"] += 0.001 * (-1) ** record["seed"]
    text = page(found, tmp_path)

    assert words in text
    assert "z[2:] is not seen to change" in text
    three = page([record for record in found if record["seed"] <= 3], tmp_path)
    assert "concentrates the speaker in z[:2]: not all seeds are there" in three
