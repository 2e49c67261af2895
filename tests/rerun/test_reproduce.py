"""A trial trained again, and compared with what was recorded."""

from __future__ import annotations

import shutil
import warnings

import keras
import numpy as np
import optuna
import pytest

from kerastune_optuna import ArgumentError, ArgumentTypeError, OptunaTuner
from kerastune_optuna._study.record import REPEAT_OF
from tests.conftest import PruneAt, build_model


def noisy(trial):
    """Return an unbuilt model with chance in it, and a size of batches."""
    model = build_model(trial)
    other = keras.Sequential([keras.layers.Dropout(0.3), *model.layers])
    other.compile(model.optimizer, model.loss, metrics=["accuracy"])
    return other, {"batch_size": trial.suggest_categorical("batch_size", [8, 16])}


def values(data):
    """Return data as functions that load it."""
    x, y, validation = data
    return {"x": lambda: x, "y": lambda: y, "validation_data": lambda: validation}


class Halve(keras.callbacks.Callback):
    """Halve the learning rate at each epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        """Halve it."""
        self.model.optimizer.learning_rate = self.model.optimizer.learning_rate / 2


@pytest.mark.slow
@pytest.mark.parametrize("form", ["arrays", "functions"])
@pytest.mark.filterwarnings("error::UserWarning")
def test_trials_are_reproduced_in_a_new_tuner(search, make_tuner, reproduce, data, form):
    """All epochs of all metrics are equal, of a pruned trial as far as it came; nothing is told."""
    given = {"callbacks": [Halve()], **(values(data) if form == "functions" else {})}
    options = {"n_trials": 3, "pruner": PruneAt([1], step=1)}
    search(noisy, "val_loss", **options, fit={"epochs": 3, **given})
    tuner = make_tuner(noisy, "val_loss")
    for number, epochs in enumerate([3, 2, 3]):
        frame = reproduce(tuner, number, **given)
        assert sorted(set(frame["epoch"])) == list(range(epochs))
        assert set(frame["metric"]) == {"accuracy", "loss", "val_accuracy", "val_loss"}
        assert frame["difference"].max() == 0


@pytest.mark.slow
def test_what_is_passed_goes_before_what_the_search_had(search, reproduce):
    """Numbers are those of the search where none are given, and others are told."""
    tuner = search(n_trials=1, fit={"batch_size": 8, "class_weight": {0: 2.0, 1: 1.0, 2: 1.0}})
    assert reproduce(tuner)["difference"].max() == 0
    with pytest.warns(UserWarning, match="arguments batch_size was 8 and is 16"):
        assert reproduce(tuner, batch_size=16)["difference"].max() > 0
    with pytest.warns(UserWarning, match=r"arguments class_weight 0 was 2.0 and is 1.0"):
        assert reproduce(tuner, class_weight={0: 1.0, 1: 1.0, 2: 1.0})["difference"].max() > 0


@pytest.mark.parametrize("name", ["epochs", "steps_per_execution"])
def test_what_is_always_as_in_the_search_is_refused(one, name):
    """The error says that the argument is to be left out."""
    with pytest.raises(ArgumentTypeError, match=rf"reproduce\(\) got '{name}'.*Leave it out\."):
        one.reproduce(0, *ITS_DATA, **{name: 2})


@pytest.mark.slow
def test_other_data_and_callbacks_are_told(search, reproduce, data):
    """What is not that of the search is named, and the epochs differ."""
    tuner = search(n_trials=1, fit={"callbacks": [Halve()]})
    with pytest.warns(UserWarning, match=r'arguments callbacks was \["Halve"\] and is \[\]'):
        assert reproduce(tuner)["difference"].max() > 0
    with pytest.warns(
        UserWarning, match=r'data x was "float32\(48, 4\) [0-9a-f]+" and is "float32'
    ):
        frame = reproduce(tuner, x=data[0] + 1, callbacks=[Halve()])
    assert frame["difference"].max() > 0


ITS_DATA = np.eye(3, 4)[np.arange(24) % 3].astype("float32"), np.arange(24) % 3


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Give the folder of a study of one trial of two epochs, which no test may change."""
    folder = tmp_path_factory.mktemp("finished") / "tuning"
    options = {"n_trials": 1, "seed": 0, "directory": folder, "study_name": "test"}
    tuner = OptunaTuner(build_model, **options)
    tuner.search(*ITS_DATA, validation_data=ITS_DATA, epochs=2, verbose=0)
    return folder


def test_a_search_leaves_no_pickle(finished):
    """Whoever changes a file of a study makes nobody who reads it run code."""
    files = [path for path in finished.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".db"}
    assert len(files) >= 3, "database, weights and history"
    assert not [path for path in files if path.read_bytes().startswith(b"\x80")]


@pytest.fixture
def one(finished, make_tuner, tmp_path):
    """Give a tuner with a study of one trial."""
    shutil.copytree(finished, tmp_path / "tuning")
    return make_tuner(n_trials=1)


@pytest.mark.slow
def test_without_histories_the_objective_is_compared(search, make_tuner, reproduce):
    """Where no histories are kept, the values of the objective are compared."""
    search(noisy, n_trials=2, keep_best=0)
    frame = reproduce(make_tuner(noisy, keep_best=0), 1)
    assert list(frame["metric"]) == ["val_accuracy"] * 2
    assert list(frame["epoch"]) == [0, 1]
    assert frame["difference"].max() <= 1e-6


class Own:
    """Train models by a fit of its own, which tells no more than a number."""

    def __call__(self, trial):
        """Build a model."""
        return build_model(trial)

    def fit(self, trial, model, **arguments):
        """Train it, and return its last loss."""
        return model.fit(**{**arguments, "callbacks": []}).history["val_loss"][-1]


@pytest.mark.slow
def test_a_builders_own_fit_is_compared_by_what_it_returns(search, data, reproduce):
    """And refit() returns it too."""
    tuner = search(Own(), "val_loss", n_trials=1)
    (row,) = reproduce(tuner).to_dict("records")
    assert row["recorded"] == tuner.best_value
    assert row["difference"] <= 1e-6
    x, y, validation = data
    _, came = tuner.refit(x, y, 2, validation_data=validation, verbose=0)
    assert came == pytest.approx(tuner.best_value, abs=1e-6)


@pytest.mark.slow
def test_metrics_that_keras_numbers_are_compared(search, data, reproduce):
    """Unnamed ones have another number in each model of a process."""

    def build(trial):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, "sigmoid")])
        metrics = [keras.metrics.AUC(curve=curve) for curve in ("ROC", "PR")]
        model.compile("sgd", "binary_crossentropy", metrics=metrics)
        return model

    fit = {"y": data[1] == 0, "validation_data": None}
    frame = reproduce(search(build, "loss", n_trials=1, fit={**fit, "epochs": 1}), **fit)
    assert len(frame) == 3
    assert frame["difference"].max() <= 1e-6


@pytest.mark.slow
def test_the_study_and_the_files_of_its_trial_stay(search, tmp_path, reproduce):
    """Callbacks write into a folder beside that of the trial."""
    logger = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    tuner = search(n_trials=1, fit={"epochs": 1, "callbacks": [logger]})
    file = tmp_path / "test" / "trial_0000" / "log.csv"
    before = tuner.study.trials, tuner.study.user_attrs, file.stat().st_mtime_ns
    frame = reproduce(tuner, callbacks=[logger])
    assert set(frame["metric"]) == {"accuracy", "loss", "val_accuracy", "val_loss"}
    assert (tuner.study.trials, tuner.study.user_attrs, file.stat().st_mtime_ns) == before
    assert (tmp_path / "test" / "reproduced_0000" / "log.csv").exists()


def test_what_has_changed_is_told_in_one_line(one):
    """Versions, data and seeds: what they were, and what they are."""
    key = f"card:{one.study.trials[0].user_attrs['card']}"
    card = one.study.user_attrs[key]
    other = {**card, "versions": {**card["versions"], "keras": "2.0"}, "seed": 7}
    other["data"] = {**card["data"], "x": "float32(24, 4) 0123456789ab"}
    one.study.set_user_attr(key, other)
    with pytest.warns(UserWarning, match="^Not as it was when trial 0 ran: ") as told:
        frame = one.reproduce(0, *ITS_DATA, validation_data=ITS_DATA)
    (line,) = str(told[0].message).splitlines()
    assert f'versions keras was "2.0" and is "{keras.__version__}"' in line
    assert 'data x was "float32(24, 4) 0123456789ab" and is "float32(24, 4) ' in line
    assert "seed was 7 and is 0" in line
    assert "its seed was " in line
    assert frame["difference"].max() == 0  # nothing of it is true


def test_another_seed_gives_another_training(one):
    """A trial whose seed is not the one that its search gave it is not reproduced."""
    trial = one.study.trials[0]
    one.study.add_trial(
        optuna.trial.create_trial(
            params=trial.params,
            distributions=trial.distributions,
            value=trial.value,
            intermediate_values=trial.intermediate_values,
            user_attrs={**trial.user_attrs, "seed": 5},
        )
    )
    with pytest.warns(
        UserWarning, match=r"^Not as it was when trial 1 ran: its seed was \d+ and is 5"
    ):
        assert one.reproduce(1, *ITS_DATA, validation_data=ITS_DATA)["difference"].max() > 0


@pytest.mark.slow
@pytest.mark.parametrize("n_workers", [1, 2])
@pytest.mark.parametrize("seed", [None, 3])
def test_a_trial_on_a_dataset_that_shuffles_is_reproduced(search, data, reproduce, seed, n_workers):
    """Whatever was trained on it before, and whether shuffle() has a seed or not."""
    import tensorflow as tf

    x, y, _ = data
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(48, seed=seed).batch(8)
    tuner = search(n_trials=2, fit={"x": dataset, "y": None, "n_workers": n_workers})
    with warnings.catch_warnings():
        # Workers have threads of their own, which are told.
        warnings.simplefilter("error" if n_workers == 1 else "ignore")
        assert reproduce(tuner, 1, x=dataset, y=None)["difference"].max() == 0


def test_a_trial_that_came_to_nothing_is_an_error(one):
    """The error lists those that did."""
    with pytest.raises(ArgumentError, match=r"trial=1 is no COMPLETE or PRUNED trial. Pass one"):
        one.reproduce(1, *ITS_DATA)
    one.study.add_trial(optuna.trial.create_trial(value=0.5))
    with pytest.raises(ArgumentError, match="Trial 1 has no card: it was added by hand"):
        one.reproduce(1, *ITS_DATA)
    one.study.add_trial(optuna.trial.create_trial(value=0.5, user_attrs={REPEAT_OF: 0}))
    with pytest.raises(ArgumentError, match=r"Trial 2 repeats trial 0.*Pass 0\."):
        one.reproduce(2, *ITS_DATA)
