"""The study of Jacobian L1: its cells can be trained, and its page is made from their records."""

from pathlib import Path

import pytest

from seqvae_core import train
from seqvae_core.experiment import Experiment
from seqvae_core.plugins import Plugins
from seqvae_jacobian import study, study_comparisons, study_page

PLUGINS = Plugins.load()
ROOTS = {name: Path(f"{{{name}}}") for name in study.STUDY.roots}
CELLS = study.STUDY.cells(ROOTS)
ALL_CONTRASTS = [contrast for family in study.CONTRASTS.values() for contrast in family]
FIGURES = {
    *(figure for data in study.RISES for figure in study_page.columns_of(data).values()),
    *(f"local-disentanglement/{score}/{radius:g}"
      for score in ("mig", "modularity") for radius in study.RADII),
}  # fmt: skip


def records(shift, *, seeds=study.SEEDS, arms=None):
    """Return records in which every figure of an arm is its shift, a little moved by the seed."""
    return [
        {
            "key": cell.key, "seed": cell.seed, "group": cell.group, "cpu_seconds": 100.0,
            "figures": dict.fromkeys(FIGURES, shift(cell.key.split("/")[1]) + 1e-3 * cell.seed**2),
        }
        for cell in CELLS
        if cell.seed in seeds and (arms is None or cell.key.split("/")[1] in arms)
    ]  # fmt: skip


def page(found, folder):
    study_page.write(found, folder)
    return (folder / "jacobian.md").read_text()


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.seed == 1], ids=lambda c: c.key)
def test_every_cell_is_an_experiment_in_short(cell):
    experiment = Experiment.load(cell.source, PLUGINS, cell.overrides)
    rise = study.RISES[cell.key.split("/")[0]]

    if steps := study.STEPS.get(cell.key.split("/")[0]):
        assert experiment.train.steps == steps
        assert experiment.train.monitor == "loss"
    assert {experiment.model.latents["z"].kl.schedule.steps} <= {1, rise}
    for term in experiment.regularizers:
        assert term.schedule.steps in (1, rise)


def test_the_arms_of_a_contrast_have_its_seeds():
    arms = {arm.key: arm for arm in study.ARMS}
    for contrast in ALL_CONTRASTS:
        assert all(arms[key].seeds == study.SEEDS for key in contrast.arms)


def test_a_difference_that_all_seeds_share_is_confirmed_and_its_absence_is_not(tmp_path):
    # the seeds' own spread is shared by the arms: differences have hardly any
    def shift(arm):
        return {"jl1": 0.1}.get(arm, 0.0)

    found = records(shift)
    for record in found:
        if record["key"].split("/")[1] == "jl1":
            for name in record["figures"]:
                record["figures"][name] += 1e-3 * record["seed"]
    text = page(found, tmp_path)

    assert text.count("**confirmed**") == 2
    assert "no difference seen" in text


def test_nothing_is_tested_before_all_seeds_are_there(tmp_path):
    text = page(records(lambda arm: 0.0, seeds=(1, 2, 3, 4)), tmp_path)

    assert text.count("not all seeds are there") == len(ALL_CONTRASTS)
    assert "confirmed" not in text


def test_a_group_without_records_has_no_table_and_is_said_to_be_missing(tmp_path):
    text = page(records(lambda arm: 0.0, arms={"beta-vae", "jl1"}), tmp_path)
    tables, missing = text.split("## Not run yet")

    assert study.GROUPS["confirmatory"] in tables
    for key, title in study.GROUPS.items():
        assert title in missing
        assert (title in tables) == (key == "confirmatory")
    assert "JL2, γ = 0.1 (5 of 5 seeds)" in missing
    assert (tmp_path / "jacobian.png").stat().st_size > 10_000


def test_local_mig_is_compared_at_equal_elbo_between_the_beta_vaes(tmp_path):
    found = records(lambda arm: 0.0, seeds=(1,))
    known = {"beta-vae": (-260.0, 0.05), "beta-6": (-280.0, 0.06), "beta-8": (-320.0, 0.04)}
    known |= {"jl1": (-300.0, 0.08)}
    for record in found:
        if (arm := record["key"].split("/")[1]) in known:
            record["figures"]["rates/elbo"], mig = known[arm]
            record["figures"]["local-disentanglement/mig/0.1"] = mig
    assert "at that ELBO: of 0.050, interpolated" in page(found, tmp_path)

    for record in found:
        if record["key"].split("/")[1] == "jl1":
            record["figures"]["rates/elbo"] = -330.0
    assert "none of them has it: theirs are -320 to -260 nats" in page(found, tmp_path)
    found = [record for record in found if "beta-8/" not in record["key"]]
    assert "At equal ELBO" not in page(found, tmp_path)


def test_an_estimator_is_set_against_the_beta_vae_of_its_own_seeds_and_decoder(tmp_path):
    shifts = {"beta-vae": 0.05, "jl1": 0.07, "half": 0.06, "gelu-beta-vae": 0.1, "gelu-jl1": 0.13}
    found = records(lambda arm: shifts[arm], seeds=(1, 2), arms=shifts)
    found = [r for r in found if "half/seed-2" not in r["key"]]
    table = page(found, tmp_path).split("## What an estimator brings")[1].split("## ")[0]
    assert (
        "| ε = 0.1, 1 column (the default) | 1.97 | +0.020, +0.020 | +0.0080 | +0.0041 |" in table
    )
    assert "| ε = 0.1, 1 column of half of the batch | 1.58 | +0.010 | +0.0040 | +0.0025 |" in table
    assert "| ε = 0.1, 1 column, GELU |  | +0.030, +0.030 | +0.0120 |  |" in table
    assert "autodiff" not in table


def test_costs_are_those_of_the_readme():
    readme = (Path(study.__file__).parent / "README.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in readme.splitlines() if line.count("|") == 4]
    cost = {
        row[0]: row[1] for row in reversed(rows) if len(row) > 1
    }  # finite differences come first
    measured = {
        "jl1": cost["finite differences, 1 column"], "fine": cost["finite differences, 1 column"],
        "half": cost["of half of the batch"], "published": cost["all columns"],
        "forward": cost["autodiff, 1 column"],
    }  # fmt: skip
    assert {key: str(cost) for key, cost in study_comparisons.COSTS.items() if cost} == measured


def test_a_whole_study_misses_nothing(tmp_path):
    assert "Not run yet" not in page(records(lambda arm: 0.0), tmp_path)


def test_every_row_of_a_table_has_the_cells_of_its_head(tmp_path):
    width = None
    for line in page(records(lambda arm: 0.0), tmp_path).splitlines():
        cells = line.replace(r"\|", "").count("|") if line.startswith("|") else None
        assert width is None or cells is None or cells == width, line
        width = cells


def test_the_columns_of_one_seed_outlive_its_run(tmp_path):
    cell = next(cell for cell in CELLS if cell.key == "three-dots/jl1/seed-1")
    short = ["train.steps=2", "data.count=200", "data.valid=64", "data.test=64"]
    asked = 'tasks=[{name="jacobian-columns", items=2}]'
    experiment = Experiment.load(cell.source, PLUGINS, [*cell.overrides, *short, asked])
    run = tmp_path / "jl1" / "seed-1"
    train(experiment, run, plugins=PLUGINS)
    found = study.STUDY.pictures(run)

    assert list(found) == ["columns-jl1"]
    assert found["columns-jl1"].startswith(b"\x89PNG")
    (tmp_path / "jacobian-columns-jl1.png").write_bytes(found["columns-jl1"])
    assert "(jacobian-columns-jl1.png)" in page(records(lambda arm: 0.0), tmp_path)

    assert not study.STUDY.pictures(run.rename(run.with_name("seed-2")))
