"""A fixture for folders of tests of which few are about where a study is."""

import pytest
from optuna.storages import InMemoryStorage


@pytest.fixture
def make_tuner(make_tuner):
    """Give a maker of tuners that share a study in memory, where no other storage is named."""
    in_memory = InMemoryStorage()
    return lambda *given, **options: make_tuner(*given, **{"storage": in_memory, **options})
