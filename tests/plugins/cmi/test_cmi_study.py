"""The study of CMI: its cells, its tests, and the page from made-up records."""

import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from seqvae_cmi.study import ARMS, CONTRASTS, GAMMAS, SEEDS, SETTINGS, STUDY
from seqvae_cmi.study_page import holm, paired, write
from seqvae_core.experiment import Experiment

ROOTS = {"timit": Path("corpus")}
CELLS = STUDY.cells(ROOTS)
numbers = st.floats(-10.0, 10.0).map(lambda value: round(value, 3))


def test_every_arm_has_every_seed_once_on_every_data_set():
    confirmatory = [cell for cell in CELLS if cell.group == "confirmatory"]
    assert len({cell.key for cell in CELLS}) == len(CELLS)
    runs = len(SEEDS) * (1 + len(ARMS) * len(GAMMAS))
    assert Counter(cell.source for cell in confirmatory) == {s.name: runs for s in SETTINGS}


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


def test_every_cell_is_an_experiment_that_can_be_read(plugins):
    for source, overrides in {(c.source, c.overrides) for c in CELLS if c.seed in (3, 101)}:
        found = Experiment.load(source, plugins, list(overrides))
        assert {"probe", "verification", "rates"} <= {task.name for task in found.tasks}


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


def made_up(cell):
    """Return a record in which CMI lowers the EER of z by a point and nothing else."""
    arm, gamma = cell.key.split("/")[1:3]
    by = " by utterance" if cell.source == "timit" else ""
    wobble = 0.001 * math.sin(7.0 * cell.seed + 3.0 * len(arm))
    eer = 0.15 - 0.01 * (arm == "cmi") + wobble
    figures = {
        f"verification/eer/z{by}": eer,
        f"verification/eer/pooled s{by}": 0.4 + wobble,
        f"probe/speaker/z{by}/linear": 0.9, f"probe/speaker/pooled s{by}/linear": 0.4,
        "rates/kl/z": 10.0 + 5.0 * float(gamma if gamma != "grid" else 0.0) + wobble,
        "rates/kl/s per frame": 1.0, "rates/elbo per frame": -10.0, "reconstruction/mse": 0.1,
        "mutual-information/mi": 1.0 + wobble,
        "last/cmi/critic/accuracy": 0.9, "last/cmi/mean_logit": 3.0, "last/cmi/rate_gap": 9.0,
    }  # fmt: skip
    for name in ("mean of frames", "mean and std of frames", "untrained z"):
        figures |= {f"verification/eer/{name}{by}": 0.2, f"probe/speaker/{name}{by}/linear": 0.8}
    return {"key": cell.key, "group": cell.group, "seed": cell.seed, "figures": figures,
            "cpu_seconds": 30.0, "hardware": {"cores": 2}}  # fmt: skip


def test_the_page_says_which_contrasts_are_confirmed_and_shows_every_arm(tmp_path):
    write([made_up(cell) for cell in CELLS], tmp_path)
    page = (tmp_path / "cmi.md").read_text()
    assert page.count("**confirmed**") == 4  # EER of z, at equal γ and KL(z), on both data sets
    assert page.count("**confirmed**") + page.count("**undecided**") == 4 * len(CONTRASTS)
    for arm in ARMS:
        assert f"| 0.9 | {arm} | " in page
    assert (tmp_path / "cmi-timit.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_is_made_from_whole_seeds_alone(tmp_path):
    cells = [cell for cell in CELLS if cell.seed in (1, 2) and cell.source == "japanese-vowels"]
    write([made_up(cell) for cell in cells[:-1]], tmp_path)
    page = (tmp_path / "cmi.md").read_text()
    assert "1 of 10 seeds so far: nothing is tested" in page
    assert "Contrasts over" not in page
    assert "over seeds 1 to 1" in page
    assert "timit\n" not in page.split("## ")[-1]
