"""How the pages of studies write a mean over seeds."""

import pytest

from seqvae_tasks.contrasts import spread


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([-3441.7, -3433.3], "-3437.5 ± 5.9"),
        ([0.043, 0.0502], "0.0466 ± 0.0051"),
        ([1400.0, 1520.0], "1460 ± 85"),
        ([900.0, 1200.0], "1050 ± 212"),
        ([0.114, 0.114], "0.114 ± 0"),
        ([2.302585, 2.302585 + 1e-9], "2.3 ± 7.1e-10"),
        ([0.25], "0.25"),
        ([-1019.42], "-1019.4"),
    ],
)
def test_a_mean_has_the_digits_of_its_deviation(values, text):
    assert spread(values) == text
