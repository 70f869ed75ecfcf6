import torch

from seqvae_acme import HSIC, hsic
from seqvae_core import Plugins
from seqvae_core.testing import check_component


def test_the_plugin_is_found_through_its_entry_point():
    plugins = Plugins.load(strict=True)

    assert plugins.get("regularizer", "acme-hsic") is HSIC
    assert plugins.provider("regularizer", "acme-hsic").distribution == "seqvae-acme"


def test_hsic_keeps_the_contract_of_regularizers():
    check_component(HSIC())


def test_dependent_variables_have_more_hsic_than_independent_ones():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 64, 3, dtype=torch.float64, generator=generator)

    assert 0.0 <= hsic(a, b) < 0.5 * hsic(a, a + 0.1 * b)
    assert hsic(a, a) <= 1.0


def test_a_constant_variable_has_no_hsic():
    a = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    assert abs(hsic(a, torch.ones(8, 2, dtype=torch.float64))) < 1e-15
