"""Functions of the trial make the data, and what they ask for is tuned with the network."""

from functools import partial

import keras
import numpy as np
import pytest

from kerastune_optuna import ArgumentError, ArgumentTypeError, StudyMismatchError
from tests.support.faults import states
from tests.support.models import build_eager

SERIES = np.sin(np.arange(160) / 5).astype("float32")


def windows(trial, begin=0, end=100):
    """Return windows of the series, and the value after each."""
    width = trial.suggest_int("window", 4, 12, step=4)
    part = SERIES[max(0, begin - width) : end]
    return np.lib.stride_tricks.sliding_window_view(part[:-1], width), part[width:]


held_out = partial(windows, begin=100, end=160)
DATA = {"x": windows, "y": None, "validation_data": held_out, "epochs": 1}


def build_unbuilt(trial, *inputs):
    """Return a network that takes windows of any width, and needs no graph."""
    units = trial.suggest_int("units", 2, 3)
    layers = [keras.layers.Dense(units, "relu"), keras.layers.Dense(1)]
    model = keras.Sequential([*inputs, *layers])
    model.compile("adam", "mse", run_eagerly=True)
    return model


def build(trial):
    """Return a network that knows the width of the windows."""
    return build_unbuilt(trial, keras.Input((trial.suggest_int("window", 4, 12, step=4),)))


@pytest.fixture
def tune(search):
    """Give a function that searches on windows."""
    return lambda build=build, fit=None, **options: search(
        build, "val_loss", fit={**DATA, **(fit or {})}, **options
    )


@pytest.fixture
def queued(make_tuner):
    """Give a function that makes a tuner with some trials that wait."""

    def make(*waiting, build=build_unbuilt):
        tuner = make_tuner(build, "val_loss", n_trials=len(waiting))
        for params in waiting:
            tuner.study.enqueue_trial(params)
        return tuner

    return make


def test_a_function_is_called_for_each_trial(queued, search):
    """With the trial itself; what it draws by chance does not depend on the trial."""
    drawn = []

    def by_chance(trial):
        trial.set_user_attr("made", trial.number)
        x, y = windows(trial)
        drawn.append(np.random.normal(size=x.shape))
        return x + drawn[-1], y

    tuner = queued({"units": 2, "window": 4}, {"units": 3, "window": 4})
    search(tuner=tuner, fit={**DATA, "x": by_chance})
    assert [trial.user_attrs["made"] for trial in tuner.study.trials] == [0, 1]
    assert (drawn[0] == drawn[1]).all()
    loss = tuner.best_model().evaluate(*held_out(tuner.best_trial), verbose=0)
    assert loss == pytest.approx(tuner.best_value, rel=1e-6)


@pytest.mark.slow
def test_a_trial_is_trained_again_on_its_own_data(tune, comes_again):
    """By confirm() and refit()."""
    tuner, data = tune(n_trials=3), {"validation_data": held_out}
    assert comes_again(tuner, 1, x=windows, y=None, **data)
    assert len(tuner.confirm(2, 2, windows, **data, verbose=0).ranking) == 2
    model, _ = tuner.refit(windows, trial=1, verbose=0)
    assert model.input_shape == (None, tuner.study.trials[1].params["window"])


@pytest.mark.slow
def test_a_grid_has_what_the_functions_ask_for(tune):
    """Each configuration once, in several calls, where the builder does not ask for the width."""
    for n_trials in (2, 5, None):
        tuner = tune(build_unbuilt, sampler="grid", n_trials=n_trials)
    configurations = [sorted(trial.params.items()) for trial in tuner.study.trials]
    assert sorted(configurations) == [
        [("units", units), ("window", window)] for units in (2, 3) for window in (4, 8, 12)
    ]
    assert set(tuner.plot_importance().data[0].y) == {"units", "window"}


def test_configurations_repeat_by_all_parameters(queued, search):
    """The same network on other windows is none that is known."""
    tuner = queued(*({"units": 2, "window": window} for window in (4, 8, 8)))
    search(tuner=tuner, fit=DATA)
    reasons = [trial.user_attrs["stop_reason"] for trial in tuner.study.trials]
    assert reasons == ["ran all epochs", "ran all epochs", "repeats trial 1"]


def test_what_functions_ask_for_is_enqueued(make_tuner, capsys):
    """Where the functions come with the parameters; space() and the defaults have them too."""
    tuner = make_tuner(build_unbuilt, "val_loss")
    for told, *wrong in [
        (r"pass that function too: enqueue\(params, function", {"window": 8}),
        (r"'windov'.* Did you mean 'window'", {"windov": 8}, windows),
        ("window=9, which", {"window": 9}, windows),
        ("ndarray is not a function", {"window": 8}, SERIES),
    ]:
        with pytest.raises(ArgumentError, match=told):
            tuner.enqueue(*wrong)
    tuner.enqueue({"window": 8}, windows)
    tuner.enqueue(None, windows)
    asked = [trial.system_attrs["fixed_params"] for trial in tuner.study.trials]
    assert asked == [{"window": 8}, {"window": 8, "units": 2}]
    tuner.space(windows)
    assert "window     4 to 12 in steps of 4  8" in capsys.readouterr().out


def raising(trial):
    raise NameError("no such file")


TWICE = ArgumentError, "x returned weights, but sample_weight was passed too"
WRONG = {
    "two arguments": ({"x": lambda trial, width: None}, ArgumentTypeError, "takes \\(trial, width"),
    "nothing": ({"x": lambda trial: None}, ArgumentError, "passed as x returned None"),
    "no validation": ({"validation_data": lambda trial: None}, ArgumentError, "validation_data re"),
    "a function": ({"x": lambda trial: windows}, ArgumentTypeError, "x returned a function"),
    "a tuple beside y": ({"y": SERIES[:92]}, ArgumentError, "a tuple of 2, but y was passed too"),
    "four parts": ({"x": lambda trial: (1, 2, 3, 4)}, ArgumentError, "a tuple of 4. Return"),
    "weights": ({"x": lambda trial: (SERIES, SERIES, SERIES), "sample_weight": SERIES}, *TWICE),
    "weights, too": ({"x": lambda: (SERIES, SERIES, SERIES), "sample_weight": SERIES}, *TWICE),
    "uneven": ({"x": lambda trial: (SERIES, SERIES[1:])}, ArgumentError, "160 rows and y has 159"),
    "a list": ({"x": lambda trial: ([1, 2], SERIES[:2])}, ArgumentTypeError, "is not an array"),
    "raises": ({"x": raising}, NameError, "no such file"),
    "folds": ({"validation_data": None, "cv": 2}, ArgumentError, "x is a function of the"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_a_function_cannot_do_is_told_before_training(tune, wrong):
    """In one line, which says what to do instead."""
    fit, kind, text = wrong
    with pytest.raises(kind, match=text):
        tune(fit=fit)


def test_an_error_of_some_data_costs_its_trial_alone(queued, search):
    """The trial says why, and the search goes on."""

    def sometimes(trial):
        x, y = windows(trial)
        if x.shape[1] == 8:
            raise RuntimeError("no such window")
        return x, y

    tuner = queued({"window": 4}, {"window": 8}, {"window": 12})
    search(tuner=tuner, fit={**DATA, "x": sometimes, "n_trials": 2})
    assert states(tuner) == ["COMPLETE", "FAIL", "COMPLETE"]
    assert tuner.study.trials[1].user_attrs["stop_reason"] == "RuntimeError: no such window"


def test_other_choices_than_the_study_has_are_told(tune):
    """As they are of a builder."""
    tune(build_unbuilt, n_trials=1)
    chosen = {"x": lambda trial: trial.suggest_categorical("window", ["a"])}
    with (
        pytest.warns(UserWarning, match="has changed .*the code of <lambda>"),
        pytest.raises(StudyMismatchError, match="a function of the data asks for 'window' as one"),
    ):
        tune(build_unbuilt, chosen, n_trials=2)


def test_a_changed_function_is_told(tune):
    """Its results are no repeats of those before."""
    tune(n_trials=1)

    def others(trial):
        x, y = windows(trial)
        return x, 2 * y

    with pytest.warns(UserWarning, match="data's functions has changed .*the code of others"):
        tune(fit={"x": others}, n_trials=2)


def test_a_fit_of_the_builders_own_gets_the_data(tune):
    """As it gets arrays."""

    class Own:
        def __call__(self, trial):
            return build(trial)

        def fit(self, trial, model, x, y, **arguments):
            assert x.shape[1] == trial.params["window"]
            return model.fit(x, y, **arguments)

    tuner = tune(Own(), {"steps_per_execution": 1}, n_trials=1)
    assert states(tuner) == ["COMPLETE"]


@pytest.mark.slow
def test_x_y_and_validation_may_each_be_a_function(search, data):
    """Beside arrays, and with weights of the rows."""
    x, y, _ = data
    search(build_eager, fit={"x": lambda trial: x, "y": lambda trial: y}, n_trials=1)

    def weighted(trial):
        return x, y, np.full(len(x), trial.suggest_float("weight", 0.5, 2))

    tuner = search(build_eager, fit={"x": weighted, "y": None}, n_trials=1, study_name="weighted")
    assert {"lr", "units", "weight"} == set(tuner.best_params)
