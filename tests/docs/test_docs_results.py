"""The pages of results are what the studies make of the records beside them."""

import shutil
from pathlib import Path

import pytest

from seqvae_core.ledger import Ledger
from seqvae_core.plugins import Plugins
from seqvae_core.reproduction import write_page

RESULTS = Path(__file__).parents[2] / "docs" / "results"
STUDIES = Plugins.load().components("study")


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_a_page_of_results_is_what_its_records_give(name, tmp_path):
    for file in [RESULTS / f"{name}.jsonl", *RESULTS.glob(f"{name}-*.png")]:
        shutil.copy(file, tmp_path)
    page = write_page(STUDIES[name], Ledger(tmp_path, name))
    assert page.read_text(encoding="utf-8") == (RESULTS / page.name).read_text(encoding="utf-8")


def test_the_page_on_the_jacobian_has_the_study_s_figures():
    figures = {key: record["figures"] for key, record in Ledger(RESULTS, "jacobian").read().items()}
    page = (RESULTS.parent / "concepts" / "jacobian.md").read_text(encoding="utf-8")
    arms = {
        "ReLU": ("beta-vae", "jl1", "fine", "published", "forward"),
        "GELU": ("gelu-beta-vae", "gelu-jl1", None, None, "gelu-forward"),
    }
    for decoder, keys in arms.items():
        [line] = [line for line in page.splitlines() if line.startswith(f"| {decoder} | .")]
        found = [figures[f"three-dots/{key}/seed-1"] if key else None for key in keys]
        values = [
            f"{each['local-disentanglement/mig/0.1']:.3f}"[1:] if each else "" for each in found
        ]
        assert [cell.strip() for cell in line.strip("|").split("|")] == [decoder, *values]
    second = [
        f"{figures[f'three-dots/{key}/seed-2']['local-disentanglement/mig/0.1']:.3f}"[1:]
        for key in ("gelu-beta-vae", "gelu-jl1", "gelu-forward")
    ]
    said = "no penalty\n{}, ε = .1 {}, autodiff {}.".format(*second)
    assert said in page
