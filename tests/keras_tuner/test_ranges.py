"""The ranges of hyperparameters have the values that KerasTuner would give, and its defaults."""

import keras_tuner
import optuna
import pytest

from kerastune_optuna import ArgumentError, HyperParameters
from tests.support.keras_tuner_builders import possible

RANGES = {
    "ends": lambda hp: hp.Int("x", 3, 7),
    "step": lambda hp: hp.Int("x", 6, 13, step=3),
    "one": lambda hp: hp.Int("x", 5, 5),
    "negative": lambda hp: hp.Int("x", -4, 4, step=2),
    "log": lambda hp: hp.Int("x", 1, 9, sampling="log"),
    "factor": lambda hp: hp.Int("x", 2, 40, step=2, sampling="log"),
    "mirrored": lambda hp: hp.Int("x", 2, 9, sampling="reverse_log"),
    "mirrored factor": lambda hp: hp.Int("x", 2, 40, step=3, sampling="reverse_log"),
    "float step": lambda hp: hp.Float("x", 0.0, 0.3, step=0.1),
    "float step, its last value lost": lambda hp: hp.Float("x", 0.0, 0.6, step=0.1),
    "float step of the documentation": lambda hp: hp.Float("x", 0, 1, step=0.2),
    "float step with a rest": lambda hp: hp.Float("x", 0.05, 1.0, step=0.3),
    "float factor": lambda hp: hp.Float("x", 0.001, 10, step=10, sampling="log"),
    "float mirrored factor": lambda hp: hp.Float("x", 0.1, 0.95, step=2, sampling="reverse_log"),
    "words": lambda hp: hp.Choice("x", ["a", "b", "c"]),
    "numbers": lambda hp: hp.Choice("x", [0.5, 0.25], ordered=False),
    "booleans": lambda hp: hp.Choice("x", [True, False]),
    "boolean": lambda hp: hp.Boolean("x"),
    "fixed": lambda hp: hp.Fixed("x", 0.1),
}
SPANS = {
    "linear": lambda hp: hp.Float("x", -1, 2),
    "log": lambda hp: hp.Float("x", 1e-4, 1e-1, sampling="log"),
    "mirrored": lambda hp: hp.Float("x", 0.01, 1, sampling="reverse_log"),
}


def drawn(question, draws=150):
    """Return the values that a search by chance draws, and those that it records."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(draws)]
    values = [question(HyperParameters(trial)) for trial in trials]
    return values, [trial.params["x"] for trial in trials]


@pytest.mark.parametrize("question", RANGES.values(), ids=RANGES)
def test_the_values_are_keras_tuners(question):
    """Each value that KerasTuner can draw is drawn, to the last digit, and no other."""
    theirs = keras_tuner.HyperParameters()
    question(theirs)
    values, recorded = drawn(question)
    assert set(values) == possible(theirs.space[0])
    assert {type(value) for value in values} == {type(one) for one in possible(theirs.space[0])}
    assert recorded == pytest.approx(values) if isinstance(values[0], float) else recorded == values


@pytest.mark.parametrize("question", SPANS.values(), ids=SPANS)
def test_spans_have_keras_tuners_ends(question):
    """Values from a span without steps lie all over it."""
    theirs = keras_tuner.HyperParameters()
    question(theirs)
    span = theirs.space[0]
    values, recorded = drawn(question)
    assert values == recorded
    assert span.min_value <= min(values) < max(values) <= span.max_value
    middle = span.prob_to_value(0.5)
    assert min(values) < middle < max(values)


@pytest.mark.parametrize("question", [*RANGES.values(), *SPANS.values()], ids=[*RANGES, *SPANS])
def test_defaults_are_keras_tuners(question):
    """Without a trial each hyperparameter has the default that KerasTuner gives it."""
    assert question(HyperParameters()) == question(keras_tuner.HyperParameters())


WRONG = [
    (lambda hp: hp.Int("x", 5, 2), "'x' has min_value=5 above max_value=2"),
    (lambda hp: hp.Int("x", 0.5, 2), "hp.Int('x') has min_value=0.5. Pass a whole number"),
    (lambda hp: hp.Float("x", 0, 1, sampling="log"), "min_value=0.0, which has no logarithm"),
    (lambda hp: hp.Float("x", 1, 9, step=1, sampling="log"), "Pass a step above 1, or None"),
    (lambda hp: hp.Int("x", 1, 9, step=0), "step=0. Pass a step above 0"),
    (lambda hp: hp.Float("x", 0, 1, sampling="cube"), "Pass one of 'linear', 'log', 'reverse_log'"),
    (lambda hp: hp.Choice("x", []), "hp.Choice('x') has no values"),
    (lambda hp: hp.conditional_scope("y", [1]).__enter__(), "the builder has asked for: none."),
]


@pytest.mark.parametrize(("question", "text"), WRONG)
def test_a_wrong_range_is_refused(question, text):
    """The error names the hyperparameter, and says what to pass."""
    with pytest.raises(ArgumentError) as got:
        question(HyperParameters())
    assert text in str(got.value)
    assert len(str(got.value).splitlines()) == 1


REFUSED = {
    "a default that is no choice": lambda hp: hp.Choice("x", ["a", "b"], default="c"),
    "a number that is no choice": lambda hp: hp.Choice("x", [1, 2], default=3),
    "two types": lambda hp: hp.Choice("x", [1, 2.0]),
    "numbers and texts": lambda hp: hp.Choice("x", [1, "a"]),
    "None beside others": lambda hp: hp.Choice("x", ["a", None]),
    "None alone": lambda hp: hp.Choice("x", [None]),
    "lists": lambda hp: hp.Choice("x", [[1], [2]]),
    "texts in order": lambda hp: hp.Choice("x", ["a", "b"], ordered=True),
    "a default that is no bool": lambda hp: hp.Boolean("x", default="no"),
    "None fixed": lambda hp: hp.Fixed("x", None),
    "a list fixed": lambda hp: hp.Fixed("x", [1]),
}


@pytest.mark.parametrize("question", REFUSED.values(), ids=REFUSED)
def test_what_keras_tuner_refuses_is_refused(question):
    """By an error of the same kind, in one line that names the hyperparameter."""
    with pytest.raises((ValueError, TypeError)) as theirs:
        question(keras_tuner.HyperParameters())
    with pytest.raises(ArgumentError, match="'x'") as ours:
        question(HyperParameters())
    assert isinstance(ours.value, theirs.type)
    assert len(str(ours.value).splitlines()) == 1
