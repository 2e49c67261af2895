"""What the tests of builders for KerasTuner share."""

from __future__ import annotations

import pytest
from optuna.storages import InMemoryStorage


@pytest.fixture
def make_tuner(make_tuner):
    """Give a maker of tuners of studies that are in memory, where no other storage is named."""
    in_memory = InMemoryStorage()
    return lambda *given, **options: make_tuner(*given, **{"storage": in_memory, **options})
