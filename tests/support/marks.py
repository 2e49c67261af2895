"""Marks of tests of which some cases run in .ci/run and the others in .ci/nightly alone."""

from __future__ import annotations

import pytest


def mostly_nightly(cases, *slow):
    """Return parameters of which the named ones are slow, and all others nightly.

    Args:
        cases: Values, which are named as pytest names them, or tuples of values by their names.
        slow: The names of those that are slow.
    """
    if not isinstance(cases, dict):
        cases = {getattr(case, "__name__", str(case)): (case,) for case in cases}
    if unknown := set(slow) - set(cases):
        raise ValueError(f"there are no such cases: {unknown}")
    return [
        pytest.param(
            *values, id=name, marks=pytest.mark.slow if name in slow else pytest.mark.nightly
        )
        for name, values in cases.items()
    ]
