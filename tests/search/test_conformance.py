"""Optuna's own tests of samplers, which it publishes for whoever writes one, on ours."""

from functools import partial

import pytest
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)

from kerastune_optuna import GaussianProcessSampler


class TestGaussianProcessSampler(
    BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase
):
    """Whatever Optuna asks of it, it draws, by the process as soon as one trial has a value."""

    @pytest.fixture
    def sampler(self):
        """Give what makes a sampler, as Optuna's tests ask for it."""
        return partial(GaussianProcessSampler, n_startup_trials=0)
