"""Build a data set from its settings, or see it refused in one line."""

import pytest

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_core.loading import check_splits


def build(config, seed=0, fitted=None):
    return check_splits(config.build(DataRequest(seed=seed, fitted=fitted)))


def refused_by(action, said):
    """Return the one line that an action is refused with."""
    with pytest.raises(DataError, match=said) as caught:
        action()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def refused(config, said):
    """Return the one line that a data set is refused with."""
    return refused_by(lambda: build(config), said)


def fault(config):
    """Return the error that the data give, "" for none."""
    try:
        build(config)
    except DataError as error:
        return str(error)
    return ""
