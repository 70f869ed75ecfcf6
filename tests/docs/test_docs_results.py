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
