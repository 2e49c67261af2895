"""Marks of tests of which some cases run in .ci/run and the others in .ci/nightly alone."""

import pytest


def mostly_nightly(cases, *slow):
    """Return parameters, values or tuples by name, of which the named are slow, others nightly."""
    if not isinstance(cases, dict):
        cases = {getattr(case, "__name__", str(case)): (case,) for case in cases}
    if unknown := set(slow) - set(cases):
        raise ValueError(f"there are no such cases: {unknown}")
    marks = {name: pytest.mark.slow if name in slow else pytest.mark.nightly for name in cases}
    return [pytest.param(*cases[name], id=name, marks=marks[name]) for name in cases]
