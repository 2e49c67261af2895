"""What pytest does for the examples in docstrings."""

import doctest

import pytest


@pytest.fixture(autouse=True)
def names_of_the_example(request):
    """Give an example that names the one of OptunaTuner what that one defines."""
    test = getattr(request.node, "dtest", None)
    if test is not None and "of the example of OptunaTuner" in test.docstring:
        from kerastune_optuna import OptunaTuner

        for step in doctest.DocTestParser().get_examples(OptunaTuner.__doc__):
            exec(step.source, test.globs)
