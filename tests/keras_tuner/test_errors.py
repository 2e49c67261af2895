"""The errors by which KerasTuner's users end a search, or one trial."""

import keras
import keras_tuner
import pytest

from kerastune_optuna import (
    ArgumentTypeError,
    FailedTrialError,
    FatalError,
    OptunaTuner,
    from_keras_tuner,
)
from tests.support.faults import states
from tests.support.keras_tuner_builders import Quick

FATAL = [FatalError("stop"), keras_tuner.errors.FatalValueError("stop")]


class Raising(keras_tuner.HyperModel):
    """Raise an error in the second trial."""

    def __init__(self, where, error):
        super().__init__()
        self.where, self.error, self.calls = where, error, []

    def come_to(self, where):
        """Raise the error here, unless it is too early or the place another."""
        self.calls.append(where)
        # The model of the defaults is built before the first trial, whose model is built twice.
        if where == self.where and self.calls.count(where) == (4 if where == "build" else 2):
            raise self.error

    def build(self, hp):
        """Return a model, or raise."""
        self.come_to("build")
        return Quick(hp.Int("units", 2, 40))

    def fit(self, hp, model, *args, **kwargs):
        """Train, or raise."""
        self.come_to("fit")
        return model.fit(*args, **kwargs)


@pytest.mark.parametrize("error", FATAL, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["build", "fit", "callback"])
def test_a_fatal_error_ends_the_search(search, make_tuner, where, error):
    """Wherever it is raised, though a trial before it succeeded; its own trial is FAIL."""
    raising = Raising(where, error)
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: raising.come_to("callback"))
    fit = {"epochs": 1, "callbacks": [callback]}
    with pytest.raises(type(error), match="stop"):
        search(from_keras_tuner(raising), n_trials=4, fit=fit)
    done, failed, *later = states(make_tuner())
    assert (done, failed) == ("COMPLETE", "FAIL")
    assert set(later) <= {"FAIL"}


@pytest.mark.parametrize("error", [FailedTrialError, keras_tuner.errors.FailedTrialError])
def test_failed_trials_of_one_kind_end_no_search(search, error):
    """KerasTuner's users raise one for each model that they do not want trained."""
    calls = []

    def build(hp):
        calls.append(hp.Int("units", 2, 40))
        if 1 < len(calls) <= 3:  # the first is that of the defaults
            raise error("The model is too large.")
        return Quick(calls[-1])

    tuner = search(from_keras_tuner(build), n_trials=1, fit={"epochs": 1})
    assert states(tuner) == ["FAIL", "FAIL", "COMPLETE"]


def test_a_hyper_model_alone_is_told_how_to_be_passed():
    """The line names from_keras_tuner."""
    with pytest.raises(ArgumentTypeError, match=r"is a HyperModel. Pass from_keras_tuner\(build\)"):
        OptunaTuner(Raising("build", None))
