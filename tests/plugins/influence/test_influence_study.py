"""The study of influential factors: its cells can be trained, and its page takes any records."""

import hashlib
import json
from pathlib import Path

import pytest

from seqvae_core.experiment import Experiment
from seqvae_influence.selection_config import kept_counts
from seqvae_influence.study import CONTRASTS, SEEDS, SETTINGS, STUDY, measure
from seqvae_influence.study_page import write
from seqvae_tasks.contrasts import adjusted, paired, verdict

CELLS = STUDY.cells({name: Path(f"{{{name}}}") for name in STUDY.roots})
FIXED = "78f53aa0d85a4cc654d3e281381142eae20a8e6073ae60b564f74c1c3c2f8952"
SIZES = {"mnist": 128, "japanese-vowels": 16, "timit": 16, "eeg-smni": 32}


def selection(setting):
    return next(task for task in setting.tasks if task["name"] == "factor-selection")


def test_but_for_two_orders_cells_and_contrasts_are_those_fixed_before_any_was_run():
    cells = [[c.key, c.source, *c.overrides, c.seed] for c in CELLS]
    for cell in cells:
        cell[-2] = cell[-2].replace('"closed-form", ', "").replace(', "active-units"', "")
    tests = [[c.setting, c.figure, *c.rankings, c.claimed] for c in CONTRASTS]
    plan = json.dumps([cells, tests])
    assert hashlib.sha256(plan.encode()).hexdigest() == FIXED


def test_every_data_set_has_every_seed_once():
    assert len({cell.key for cell in CELLS}) == len(CELLS) == len(SEEDS) * len(SETTINGS)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_each_cell_is_an_experiment_that_measures_what_is_tested(setting, plugins):
    [cell] = [c for c in CELLS if c.key == f"{setting.name}/seed-3"]
    found = Experiment.load(cell.source, plugins, [*cell.overrides, "seed=3"])
    names = [task.name for task in found.tasks]
    assert {"influence", "factor-selection", "rates", "reconstruction"} <= set(names)
    assert len(set(names)) == len(names)
    task = found.tasks[names.index("factor-selection")]
    assert found.model.latents[task.latent].dim == SIZES[setting.name]
    for contrast in (c for c in CONTRASTS if c.setting == setting.name):
        parts = contrast.figure.split("/")
        assert int(parts[-1]) in kept_counts(task.keep, SIZES[setting.name])
        assert set(contrast.rankings) <= set(task.by)
        assert parts[2] == setting.factors
        assert parts[1] == "mse" or parts[3] == setting.label


def figures(setting, offset):
    """Return made-up figures of one run: the best factors are better than others."""
    counts = kept_counts(selection(setting).get("keep"), SIZES[setting.name])
    factors, label = setting.factors, setting.label
    made = {f"factor-selection/chance/{factors}/{label}": 0.1}
    for by in selection(setting)["by"]:
        bonus = 0.0 if by == "random" else 0.2
        for count in counts:
            value = min(1.0, 0.1 + 0.01 * count + bonus + offset)
            for way in ("zeroed", "retrained"):
                made[f"factor-selection/{way}/{factors}/{label}/{by}/{count}"] = value
            made[f"factor-selection/mse/{factors}/{by}/{count}"] = 1.0 - value
    for key in ("influential", "mi plus tc", "ceiling"):
        made[f"influence/{key}/{factors}"] = 13.0 + offset
    made |= {f"influence/mi/{factors}/0": 2.5, f"influence/mi/{factors}/1": 0.2}
    made |= {f"sandwich/{factors}/0/I_M": 2.5, f"sandwich/{factors}/0/free mean": 2.7}
    made |= {f"sqrt v/{factors}/least": 0.97, f"sqrt v/{factors}/largest": 1.12}
    made[f"closed form/{factors}"] = 21.5
    made[f"influence/rank correlation/{factors}/KL"] = 0.99
    if setting.name == "mnist":
        made |= {f"fano-bound/{what}/z/digit/13": 0.05 for what in ("floor", "error")}
        made["reconstruction-bound/factor/z/13"] = 1.01
    return made


def record(setting, seed):
    return {
        "key": f"{setting.name}/seed-{seed}", "group": setting.name, "seed": seed,
        "figures": figures(setting, 0.001 * seed), "cpu_seconds": 100.0 + seed,
    }  # fmt: skip


def test_the_page_of_all_records_says_what_was_tested(tmp_path):
    write([record(setting, seed) for setting in SETTINGS for seed in SEEDS], tmp_path)
    page = (tmp_path / "influence.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| ") and " factors, " in line]
    lines += [line for line in page.splitlines() if "error of 7 factors:" in line]
    assert len(lines) == len(CONTRASTS)
    assert ["**confirmed**" in line or "no difference seen" in line for line in lines] == [
        True
    ] * len(lines)
    assert "| 13 | 93.13 |" in page
    assert "1.01" in page
    for setting in SETTINGS:
        picture = (tmp_path / f"influence-{setting.name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_the_page_of_one_record_tests_nothing_yet(setting, tmp_path):
    write([record(setting, 2)], tmp_path)
    page = (tmp_path / "influence.md").read_text(encoding="utf-8")
    assert page.count("1 of 5 seeds are there") == len(
        [c for c in CONTRASTS if c.setting == setting.name]
    )
    assert "confirmed" not in page
    assert page.count("\n## ") == 2


def page_of(setting, change, folder):
    """Return the page of five records of one data set, the figures of the second changed."""
    records = [record(setting, seed) for seed in SEEDS]
    change(records[1]["figures"])
    write(records, folder)
    return (folder / "influence.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("known", ["the interval", "the accuracy alone"])
def test_a_seed_whose_whole_model_is_at_chance_needs_no_number_of_factors(known, tmp_path):
    setting = SETTINGS[3]
    start = f"factor-selection/retrained/{setting.factors}/{setting.label}/mi"

    def at_chance(figures):
        for count in (32, 16, 8, 4, 2, 0):
            figures[f"{start}/{count}"] = 0.25 if known == "the interval" else 0.1
        if known == "the interval":
            figures |= {f"{start}/32/low": 0.08, f"{start}/32/high": 0.42}

    page = page_of(setting, at_chance, tmp_path)
    assert "seed by seed: 32, 32, 32, 32, not above chance." in page
    wide = "accuracy by all, over test sequences, is 34 points wide on average: the test part is sm"
    assert (wide in page) == (known == "the interval")


def test_the_sum_of_closed_forms_stands_beside_the_published_one(tmp_path):
    page = page_of(SETTINGS[0], lambda figures: None, tmp_path)
    assert "differs from them in kind" in page
    lines = page.splitlines()
    at = next(i for i, line in enumerate(lines) if "Σ closed form, nats" in line)
    place = lines[at].split("|").index(" Σ closed form, nats ")
    ours, published = (lines[at + below].split("|")[place].strip() for below in (2, 3))
    assert (ours, published) == ("21.5 ± 0", "33.4")


def test_the_page_has_each_order_in_each_table_and_says_at_most(tmp_path):
    page = page_of(SETTINGS[0], lambda figures: None, tmp_path)
    orders = "| I_M | the closed form | the KL | the variance | the mean's variance | random |"
    tables = [line for line in page.splitlines() if line.endswith(orders)]
    assert tables == [f"| kept | published {orders}", f"| kept {orders}", f"| kept {orders}"]
    assert "floor of the squared error rises by at most" in page


def test_an_order_that_a_model_has_not_gets_no_column(tmp_path):
    page = page_of(SETTINGS[3], lambda figures: None, tmp_path)
    assert "| kept | I_M | the closed form | the variance |" in page
    assert "the KL |" not in page


def test_the_page_of_a_record_without_figures_is_still_a_page(tmp_path):
    bare = {**record(SETTINGS[0], 1), "figures": {}}
    write([bare], tmp_path)
    assert (tmp_path / "influence.md").is_file()


@pytest.mark.parametrize(
    ("differences", "claimed", "said"),
    [
        ([1.0, 1.1, 0.9], "above 0", "**confirmed**"),
        ([1.0, 1.1, 0.9], "below 0", "**refuted**"),
        ([-1.0, -1.1, -0.9], "below 0", "**confirmed**"),
        ([1.0, 1.1, 0.9], "none", "**a difference**"),
        ([1.0, -1.1, 0.0], "above 0", "**undecided**"),
        ([0.0, 0.0, 0.0], "none", "no difference seen"),
    ],
)
def test_a_verdict_is_that_of_the_claims_direction(differences, claimed, said):
    test = paired(differences)
    assert verdict(test, test.p, claimed) == said


def test_missing_tests_can_only_raise_the_others():
    test = paired([1.0, 1.1, 0.9])
    assert adjusted([test, None]) == [2.0 * test.p, 1.0]


def test_a_run_is_measured_by_its_table(tmp_path):
    (tmp_path / "evaluation").mkdir()
    rows = [
        {"factor": 3, "I_M": 2.0, "standard error": None, "zero mean": 2.5, "√v": 1.1},
        {"factor": 1, "I_M": 0.1, "standard error": 0.01, "zero mean": 0.2, "√v": 0.9},
    ]
    content = {"tables": {"z: factors": rows, "z: rank correlations": []}, "notes": []}
    (tmp_path / "evaluation" / "influence.json").write_text(json.dumps(content))
    found = measure(tmp_path)
    assert found["sandwich/z/0/zero mean"] == 2.5
    assert "sandwich/z/0/standard error" not in found
    assert (found["sqrt v/z/least"], found["sqrt v/z/largest"]) == (0.9, 1.1)
    assert found["closed form/z"] == 2.7
    rows[1]["zero mean"] = None
    (tmp_path / "evaluation" / "influence.json").write_text(json.dumps(content))
    assert "closed form/z" not in measure(tmp_path)
