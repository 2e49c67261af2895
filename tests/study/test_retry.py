"""A trial whose process dies is run again, from its backup, as often as that makes sense."""

import time

import keras
import optuna
import pytest

from kerastune_optuna._study.record import TrialRecord
from kerastune_optuna._study.retry import DIED, INTERRUPTED, fail_and_retry
from tests.support import faults
from tests.support.models import build_model, history, kept
from tests.support.storages import empty, opened
from tests.support.untrained import build, run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "kills", "size"),
    [("sqlite", 4, 8), ("postgresql", 2, 5), ("mariadb", 2, 5), ("journal", 2, 5)],
)
def test_kills_cost_no_trial(search, data, tmp_path, kind, kills, size):
    """Three workers are killed at random moments: all trials end, none runs to its end twice."""
    log, killed = tmp_path / "log", tmp_path / "killed"
    killer = faults.Killer(kills, log, killed)

    def last_until_then(epoch, logs):
        time.sleep(0 if killed.exists() else 0.3)

    slow = keras.callbacks.LambdaCallback(on_epoch_end=last_until_then)
    fit = {"n_workers": 3, "epochs": 6, "callbacks": [faults.EpochLog(log), lambda trial: slow]}
    options = {"n_trials": size, "max_failed_trials": 40, "backup_every": 0.2, "keep_best": 1}
    with empty(kind, tmp_path) as storage, killer:
        tuner = search(storage=opened(storage), fit=fit, **options)
        assert len(killer.killed) == kills
        assert len(faults.finished(tuner)) == size
        assert set(faults.run_to_the_end(log).values()) == {1}
        accuracy = faults.evaluated(tuner.best_model(), data)
        assert accuracy == pytest.approx(tuner.best_value, abs=1e-6)
        assert all(len(trial.intermediate_values) == 6 for trial in faults.finished(tuner))
        assert len(kept(tuner)) == 1, "one trial's weights and no backup are left"


def test_a_kill_while_a_trial_is_laid_out_again_loses_nothing():
    """It stays RUNNING until its retry is there, so that the next process runs it again."""

    class Killed(BaseException):
        pass

    class Killing(optuna.storages.InMemoryStorage):
        kills = 0

        def create_new_trial(self, study_id, template_trial=None):
            if self.kills:
                self.kills -= 1
                raise Killed
            return super().create_new_trial(study_id, template_trial)

    study = optuna.create_study(storage=Killing())
    study.ask()
    study._storage.kills = 1
    with pytest.raises(Killed):
        fail_and_retry(study, study.trials[0], has_died=True)
    assert [trial.state.name for trial in study.trials] == ["RUNNING"]
    fail_and_retry(study, study.trials[0], has_died=True)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "WAITING"]


@pytest.mark.parametrize(("progresses", "retries"), [(True, 3), (False, 2)])
def test_a_trial_that_makes_progress_is_run_again_each_time(progresses, retries, capsys):
    """A backup that is further begins the count anew; three deaths without one end it."""
    study = optuna.create_study()
    for death in range(3):
        trial = study.ask()
        done = 5 + death * progresses
        TrialRecord(trial).backup = {"id": str(death), "previous": None, "done": done}
        fail_and_retry(study, study.trials[trial.number], has_died=True)
    of_first = [TrialRecord(one).retry_of for one in study.trials]
    assert sum(number is not None for number in of_first) == retries
    assert ("Giving up on trial 2" in capsys.readouterr().err) is not progresses


def test_a_trial_that_starts_over_makes_progress_again():
    """Where its backup is lost or its data has changed, it need not come as far as before."""
    study = optuna.create_study()
    for done in (50, 1, 5, 9):
        trial = study.ask()
        TrialRecord(trial).backup = {"id": str(done), "previous": None, "done": done}
        fail_and_retry(study, study.trials[trial.number], has_died=True)
    assert [trial.state.name for trial in study.trials] == [*["FAIL"] * 4, "WAITING"]


def unbuilt_builder(trial):
    """Return a classifier that Keras builds when it sees data, and that gets worse by training."""
    hidden = keras.layers.Dense(trial.suggest_int("units", 2, 8), "relu")
    model = keras.Sequential([hidden, keras.layers.Dense(3, "softmax")])
    rate = -trial.suggest_float("lr", 1e-3, 1e-2)
    model.compile(keras.optimizers.SGD(rate, momentum=0.5), "sparse_categorical_crossentropy")
    return model


@pytest.mark.slow
def test_a_killed_trial_goes_on_from_its_backup(search, data, tmp_path):
    """Of 20 epochs 15 are done when the process is killed; the curve is one line of 20 reports."""
    log = tmp_path / "log"
    fit = {"n_workers": 2, "epochs": 20, "callbacks": [faults.EpochLog(log), faults.kill_at(15)]}
    tuner = search(unbuilt_builder, "val_loss", n_trials=1, backup_every=0, fit=fit)
    died, retried = faults.trials_of(tuner)
    epochs = [number for number, what, *_ in faults.logged(log) if what.isdigit()]
    assert epochs.count(0) == len(died.intermediate_values) == 15
    assert epochs.count(1) <= 6
    assert died.user_attrs["stop_reason"] == DIED
    assert TrialRecord(retried).retry_of == 0
    assert retried.params == died.params
    assert retried.user_attrs["seed"] == died.user_attrs["seed"]
    assert sorted(retried.intermediate_values) == list(range(20))
    assert retried.user_attrs["epochs_run"] == 20
    assert [int(row["epoch"]) for row in history(tuner, retried.number)] == list(range(20))
    assert retried.intermediate_values.items() >= died.intermediate_values.items()
    assert retried.value == min(retried.intermediate_values.values())
    loss = tuner.best_model().evaluate(*data[2], verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(tuner.best_value, abs=1e-6)


@pytest.mark.slow
def test_a_backup_that_does_not_fit_is_not_used(search, make_tuner):
    """A retry whose builder has changed starts anew, from weights that no backup has touched."""

    def build(trial, units=3):
        rate = trial.suggest_float("lr", 1e-3, 1e-1)
        return build_model(optuna.trial.FixedTrial({"units": units, "lr": rate}))

    interrupts = [True]

    def interrupt(epoch, logs):
        if epoch == 2 and interrupts:
            interrupts.clear()
            raise KeyboardInterrupt

    callback = keras.callbacks.LambdaCallback(on_epoch_end=interrupt)
    fit = {"epochs": 4, "callbacks": [lambda trial: callback]}
    options = {"n_trials": 1, "backup_every": 0}
    with pytest.raises(KeyboardInterrupt):
        search(build, fit=fit, **options)
    with pytest.warns(UserWarning, match="code of build_model has changed"):
        search(tuner=make_tuner(lambda trial: build(trial, units=5), **options), fit=fit)
    cut_off, again = faults.trials_of(make_tuner())
    assert cut_off.user_attrs["stop_reason"] == INTERRUPTED
    assert sorted(again.intermediate_values) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "error", [optuna.TrialPruned(INTERRUPTED), type(INTERRUPTED, (Exception,), {})()], ids=repr
)
def test_what_a_user_says_cuts_no_trial_off(quick, capsys, error):
    """A builder's own text or error may read like our reason, and its trial ended by itself."""

    def raising(trial):
        model = build(trial)
        if trial.number == 1:
            raise error
        return model

    trials = run(quick(raising, pruner="none", n_trials=3), verbose=2).study.trials
    assert trials[1].user_attrs["stop_reason"] == INTERRUPTED
    assert TrialRecord(trials[1]).ending.is_final
    assert "to be run again" not in capsys.readouterr().out
