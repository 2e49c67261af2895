"""What limits, ends or starts a search does so with several workers, whose trials are n_trials."""

import time

import keras
import numpy as np
import optuna
import pytest
from optuna.samplers import NSGAIISampler, RandomSampler
from optuna.trial import TrialState

from kerastune_optuna._study import TrialRecord
from tests.support.faults import meet, trials_of
from tests.support.models import PruneAt, build_model
from tests.support.untrained import build, run, tuner_in

pytestmark = pytest.mark.slow


class Noting(RandomSampler):
    """Write into a file for which trial it draws, and how many COMPLETE ones it is shown."""

    def __init__(self, path):
        super().__init__(seed=0)
        self.path = path

    def sample_independent(self, study, trial, name, distribution):
        """Look, and draw by chance."""
        seen = study._get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        with open(self.path, "a") as file:
            file.write(f"{trial.number} {len(seen)}\n")
        return super().sample_independent(study, trial, name, distribution)


def together(folder, build):
    """Return a builder with which no trial begins before two processes have one."""

    def build_together(trial):
        if isinstance(trial, optuna.Trial):  # the process that leads reads its parameters alone
            meet(folder, 2)
        return build(trial)

    return build_together


def make_slow(trial):
    seconds = 6 if trial.params["level"] == 1.0 else 0
    return keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: time.sleep(0 if epoch else seconds)
    )


def test_limits_pruner_and_warm_start_hold_for_each_worker(tmp_path):
    """What is too large, too slow or pruned ends so, and counts; each sampler knows the start."""
    notes, options = tmp_path / "notes", {"study_name": "earlier", "pruner": "none"}
    earlier = run(tuner_in(tmp_path, build, "val_mae", n_trials=4, **options))
    options = {"sampler": Noting(notes), "warm_start": earlier.study, "n_trials": 14}
    options |= {"pruner": PruneAt(range(0, 14, 2)), "max_params": 2000, "max_seconds_per_trial": 5}
    options["constraints"] = [lambda trial, model: 5 - trial.params["units"]]
    tuner = tuner_in(tmp_path, together(tmp_path, build), "val_mae", **options)
    for units in (1, 5, 900):
        tuner.enqueue({"level": 1.0, "units": units})
    for units in (10, 11):  # one that ends and one that is pruned, whatever else is drawn
        tuner.enqueue({"units": units})
    run(tuner, n_workers=2, callbacks=[make_slow])
    # A slot too many, which two processes laid out, waits for nobody.
    trials = [one for one in tuner.study.trials if TrialRecord(one).has_begun]
    assert len(trials) == 14
    assert tuner.results()["worker"].nunique() == 2
    came = {}
    for trial in trials:
        size = 3 * trial.params["units"] + 1
        if size > 2000 or size < 16:
            why = "max_params: " if size > 2000 else "constraint <lambda>: "
            epochs = 0
        elif trial.number % 2 == 0:
            why, epochs = "pruned at epoch 1/5", 1
        elif trial.params["level"] == 1.0:
            why, epochs = "max_seconds_per_trial: ", 1
        else:
            why, epochs = "", 5
        assert trial.user_attrs["stop_reason"].startswith(why)
        assert trial.user_attrs["epochs_run"] == epochs
        assert trial.state is (TrialState.COMPLETE if epochs == 5 else TrialState.PRUNED)
        came.setdefault(why, []).append(trial.params["level"])
    assert len(came) == 5
    assert tuner.best_value == pytest.approx(min(came[""]) + 0.02)
    shown = [list(map(int, line.split())) for line in notes.read_text().splitlines()]
    assert {number for number, _ in shown} == set(range(3, 14))
    assert all(count >= 4 for _, count in shown)


def test_folds_are_the_same_with_two_workers(tmp_path, make_tuner, data):
    """Trials that are cross-validated in two processes come to the digits of those in one."""
    x, y, _ = data
    values = []
    for workers, builder in ((1, build_model), (2, together(tmp_path, build_model))):
        tuner = make_tuner(builder, "val_loss", study_name=f"{workers}", keep_best=0)
        for units in (3, 4):
            tuner.enqueue({"units": units, "lr": 0.01})
        tuner.search(x, y, cv=2, epochs=1, n_workers=workers, verbose=0)
        values.append([trial.value for trial in trials_of(tuner)])
        assert tuner.results()["worker"].nunique() == workers
    assert values[0] == values[1]
    assert np.isfinite(values).all()


def test_a_genetic_sampler_draws_in_each_worker(tmp_path):
    """It travels to both of them, and their trials are of one row of generations."""
    sampler = NSGAIISampler(population_size=3, seed=0)
    options = {"sampler": sampler, "pruner": "none", "n_trials": 9}
    tuner = tuner_in(tmp_path, together(tmp_path, build), "val_mae", **options)
    trials = trials_of(run(tuner, n_workers=2))
    generations = {trial.system_attrs["NSGAIISampler:generation"] for trial in trials}
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 9
    assert generations >= {0, 1}
