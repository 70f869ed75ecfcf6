"""The study of CMI: its cells, its tests, and the page from made-up records."""

import hashlib
import json
import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from seqvae_cmi.study import (
    ARMS,
    CONTRASTS,
    GAMMAS,
    IMAGE_ARMS,
    IMAGE_SEEDS,
    IMAGES,
    SEEDS,
    SETTINGS,
    SPEECH,
    SPEECH_SEEDS,
    STUDY,
)
from seqvae_cmi.study_columns import Column
from seqvae_cmi.study_page import write
from seqvae_cmi.study_tables import Row, table
from seqvae_core.experiment import Experiment
from seqvae_tasks.contrasts import holm, paired

CELLS = STUDY.cells({name: Path(f"{{{name}}}") for name in STUDY.roots})
CONFIRMATORY = [cell for cell in CELLS if cell.group == "confirmatory"]
FIXED = "a69030a2729c1c1b2424f9fc565c0b39a66bc9ddf4cf28a0ed486067a7e428b6"
numbers = st.floats(-10.0, 10.0).map(lambda value: round(value, 3))


def test_the_confirmatory_cells_are_those_that_were_fixed_before_they_were_run():
    plan = json.dumps([[c.key, c.source, *c.overrides, c.seed] for c in CONFIRMATORY])
    assert hashlib.sha256(plan.encode()).hexdigest() == FIXED


def test_every_arm_has_every_seed_once_on_every_data_set():
    assert len({cell.key for cell in CELLS}) == len(CELLS)
    runs = len(SEEDS) * (1 + len(ARMS) * len(GAMMAS))
    assert Counter(cell.source for cell in CONFIRMATORY) == {s.name: runs for s in SETTINGS}
    others = Counter((cell.group, cell.key.split("/")[0]) for cell in CELLS)
    assert others["grid", "japanese-vowels"] == 1 + 5 * 4
    assert {others["speech", s.name] for s in SPEECH} == {(1 + len(ARMS)) * len(SPEECH_SEEDS)}
    pictured = len(IMAGE_SEEDS) * (1 + len(IMAGE_ARMS) * len(GAMMAS))
    assert {others["images", s.name] for s in IMAGES} == {pictured}


@pytest.mark.parametrize("arm", ["vae", *ARMS])
def test_the_arms_differ_in_nothing_but_what_their_names_say(arm, plugins):
    [cell] = [c for c in CELLS if c.key == f"japanese-vowels/{arm}/{'0' if arm == 'vae' else '0.9'}"
              "/seed-3"]  # fmt: skip
    found = Experiment.load(cell.source, plugins, list(cell.overrides))
    plain = Experiment.load("japanese-vowels", plugins)
    weight = found.model.latents["z"].kl.weight
    assert (found.data, found.train) == (plain.data, plain.train)
    assert weight == pytest.approx(0.1 if arm == "beta-vae" else 1.0)
    if arm in ("vae", "beta-vae"):
        assert found.regularizers == ()
    else:
        [term] = found.regularizers
        assert term.name == ("mi-vae" if arm == "mi-vae" else "cmi")
        assert (term.weight, term.critic.steps, term.critic.optimizer.lr) == (0.9, 4, 5e-4)
        assert getattr(term, "negatives", "prior") == ("shuffled" if arm == "shuffled" else "prior")


@pytest.mark.parametrize("arm", ["vae", *IMAGE_ARMS])
def test_the_arms_on_images_differ_in_the_term_and_in_what_its_critic_sees(arm, plugins):
    [cell] = [c for c in CELLS if c.key == f"mnist/images/{arm}/{'0' if arm == 'vae' else '0.5'}"
              "/seed-1"]  # fmt: skip
    [plain] = [c for c in CELLS if c.key == "mnist/images/vae/0/seed-1"]
    found, vae = (Experiment.load(c.source, plugins, list(c.overrides)) for c in (cell, plain))
    assert (found.data, found.train, found.tasks) == (vae.data, vae.train, vae.tasks)
    assert found.model.latents["z"].kl.weight == (0.5 if arm == "beta-vae" else 1.0)
    narrow = 2 if arm == "cmi-bottleneck" else None
    assert found.model.decoder.feature_channels == narrow
    kinds = {"mi-vae": ["mlp"], "cmi": ["conv"], "cmi-location": ["location"],
             "cmi-bottleneck": ["conv"]}  # fmt: skip
    assert [term.critic.name for term in found.regularizers] == kinds.get(arm, [])


def test_every_cell_is_an_experiment_that_can_be_read(plugins):
    for source, overrides in {(c.source, c.overrides) for c in CELLS if c.seed in (1, 101)}:
        found = Experiment.load(source, plugins, list(overrides))
        assert {"probe", "rates", "reconstruction"} <= {task.name for task in found.tasks}


@pytest.mark.parametrize("setting", SPEECH, ids=lambda setting: setting.name)
def test_no_reading_of_segments_parts_those_of_one_utterance(setting, plugins):
    cell = next(c for c in CELLS if c.key == f"{setting.name}/speech/cmi/0.5/seed-1")
    found = Experiment.load(cell.source, plugins, list(cell.overrides))
    assert (found.data.segment is not None) if setting.average else True
    asked = [getattr(task, name) for task in found.tasks
             for name in ("average", "utterance", "unit") if hasattr(task, name)]  # fmt: skip
    assert asked == [setting.average] * len(asked)


@given(st.lists(numbers, min_size=2, max_size=12))
def test_the_paired_test_is_students(values):
    found = paired(values)
    if max(values) == min(values):
        assert found.p == float(values[0] == 0.0)
        return
    expected = stats.ttest_1samp(values, 0.0)
    interval = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6))
def test_adjusted_values_lie_between_the_given_ones_and_bonferronis(values):
    adjusted = holm(values)
    for one, other in zip(values, adjusted, strict=True):
        assert one <= other <= min(1.0, len(values) * one) + 1e-12
    order = sorted(range(len(values)), key=values.__getitem__)
    assert [adjusted[i] for i in order] == sorted(adjusted)


def test_holm_has_its_known_answer():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def speech_figures(arm, gamma, seed, by):
    """Return figures in which CMI lowers the EER of z by a point, and misses an aim."""
    wobble = 0.001 * math.sin(7.0 * seed + 3.0 * len(arm))
    found = {
        f"verification/eer/z{by}": 0.15 - 0.01 * (arm == "cmi") + wobble,
        f"verification/eer/pooled s{by}": 0.4 + wobble, f"open/eer/z{by}": 0.08,
        f"probe/speaker/z{by}/linear": 0.9, f"probe/speaker/pooled s{by}/linear": 0.4,
        "leakage/phone/s per frame/linear": 0.4, "leakage/phone/frames, pca 16/linear": 0.41,
        "rates/kl/z": 10.0 + 5.0 * gamma + wobble, "rates/ln N": math.log(200.0),
        "rates/kl/s per frame": 1.0, "rates/elbo per frame": -10.0 - gamma,
        "reconstruction/mse": 0.11 if arm == "cmi" else 0.1, "mutual-information/mi": 1.0 + wobble,
        "input-information/mi/z": 4.5, "input-information/saturated/z": float(arm == "cmi"),
        "last/cmi/critic/accuracy": 0.9, "last/cmi/mean_logit": 3.0, "last/cmi/rate_gap": 9.0,
    }  # fmt: skip
    for name in ("mean of frames", "mean and std of frames", "untrained z"):
        found |= {f"verification/eer/{name}{by}": 0.2, f"probe/speaker/{name}{by}/linear": 0.8}
    return found


def made_up(cell):
    """Return a record such as a cell may have."""
    name, *parts = cell.key.split("/")
    figures = {"probe/digit/z/linear": 0.7, "recovery/s/neighbourhood": 0.9,
               "recovery/untrained s/neighbourhood": 0.8}  # fmt: skip
    if cell.group != "images":
        arm, gamma = (parts[0], float(parts[1])) if cell.group == "confirmatory" else (parts[1], 0)
        by = "" if name == "japanese-vowels" else " by utterance"
        figures = speech_figures(arm, gamma, cell.seed, by)
    return {"key": cell.key, "group": cell.group, "seed": cell.seed, "figures": figures,
            "cpu_seconds": 30.0, "hardware": {"cores": 2}}  # fmt: skip


def page_of(cells, folder):
    write([made_up(cell) for cell in cells], folder)
    return (folder / "cmi.md").read_text()


def lines_of(page, start):
    return [line for line in page.splitlines() if line.startswith(start)]


def test_the_page_says_which_contrasts_are_confirmed_and_shows_every_arm(tmp_path):
    page = page_of(CELLS, tmp_path)
    assert page.count("**confirmed**") == 4  # EER of z, at equal γ and KL(z), on both data sets
    assert page.count("**confirmed**") + page.count("**undecided**") == 4 * len(CONTRASTS)
    for arm in ARMS:
        assert len([line for line in lines_of(page, f"| 0.9 | {arm} | ") if "-10.9" in line]) == 2
    for name in ("japanese-vowels", "timit"):
        assert (tmp_path / f"cmi-{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_is_made_from_whole_seeds_alone(tmp_path):
    cells = [c for c in CONFIRMATORY if c.seed in (1, 2) and c.source == "japanese-vowels"]
    page = page_of(cells[:-1], tmp_path)
    assert "1 of 10 seeds so far: nothing is tested" in page
    assert "Contrasts over" not in page
    assert "over seeds 1 to 1" in page


def test_what_has_no_records_has_no_section(tmp_path):
    def sections(cells):
        return [line for line in page_of(cells, tmp_path).splitlines() if line.startswith("##")]

    none = sections([])
    assert sections([c for c in CELLS if c.group == "images" and c.source == "mnist-pixelcnn"][:1])[
        len(none) :
    ] == ["## mnist", "### Descriptive: 1 seed"]
    some = [cell for cell in CELLS if cell.group in ("speech", "images")]
    assert [line for line in sections(some)[len(none) :] if line.startswith("## ")] == [
        "## japanese-vowels", "## timit", "## fsdd-strings", "## mnist", "## fashion-mnist",
    ]  # fmt: skip


def test_the_grid_of_critics_begins_at_the_plain_vae(tmp_path):
    page = page_of([c for c in CELLS if c.group == "grid"], tmp_path)
    first, *others = [line for line in page.splitlines() if line.startswith("| 0")]
    assert first.startswith("| 0 |  |  |  |  |  | 10")
    assert others[0].startswith("| 0.2 | 0.0001 | 1 | 0.9 | 3 | 9 | 10")
    assert len(others) == 20


def test_aims_are_met_or_not_by_the_records(tmp_path):
    page = page_of([c for c in CELLS if c.group == "speech"], tmp_path)
    titles = (
        "speaker from z, %, not",
        "phone from s_t, %, above",
        "EER of z, %, open",
        "MSE at most",
    )
    [speaker], [phone], [eer], [error] = (lines_of(page, f"| {title}") for title in titles)
    assert speaker.count("90 against 80: **met**") == 5
    assert phone.count("40 against 41: **not met**") == 5
    assert eer.count("8 against 10: **met**") == 5
    assert error.split(" | ")[1:] == ["0.1", *["0.1 against 0.105: **met**"] * 3,
                                      "0.11 against 0.105: **not met** |"]  # fmt: skip


def test_aims_wait_for_every_arm_and_seed(tmp_path):
    cells = [c for c in CELLS if c.group == "speech" and c.key.startswith("timit")]
    assert "### Aims" in page_of(cells, tmp_path)
    assert "### Aims" not in page_of(cells[:-1], tmp_path)


def test_saturated_information_is_marked_and_the_mark_is_explained(tmp_path):
    page = page_of([c for c in CELLS if c.group == "speech"], tmp_path)
    assert any(" 4.5 ± 0 \\* " in line for line in lines_of(page, "| 0.5 | cmi |"))
    assert not any("\\*" in line for line in lines_of(page, "| 0 | vae |"))
    assert page.count("saturated: within a nat") == len(SPEECH)


def test_baselines_stand_in_the_columns_that_read_a_representation_and_in_no_other(tmp_path):
    page = page_of([c for c in CELLS if c.key.startswith("mnist/images")], tmp_path)
    assert "|  | untrained encoder |  | 0.8 ± 0 |" in page
    assert "| 0 | vae | 70 ± 0 | 0.9 ± 0 |" in page


def test_a_table_has_no_empty_line_and_no_empty_column():
    found = {f"cell-{i}": {"figures": {"a": float(i)}} for i in (1, 2)}
    rows = [Row(("both",), ("cell-1", "cell-2")), Row(("one",), ("cell-2", "cell-3")),
            Row(("none",), ("cell-3",))]  # fmt: skip
    columns = [Column("A", "a", 10.0), Column("B", "b"), Column("C", "{c}")]
    assert table(("run",), rows, columns, found) == [
        "| run | A |", "|---|---|", "| both | 15.0 ± 7.1 |", "| one | 20 |",
    ]  # fmt: skip
    assert table(("run",), rows, columns[1:], found) == []
