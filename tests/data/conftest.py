"""Tests here make tuners of studies in memory."""

from tests.support.memory import make_tuner as make_tuner
