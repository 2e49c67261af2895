"""Trials that the user excludes: no result, no lesson, and a mark; and those included again."""

import cloudpickle
import optuna
import pytest

from kerastune_optuna import ArgumentError, NoTrialsError
from kerastune_optuna._storage import excluded
from tests.support.untrained import Untrained, run, tuner_in


class Noting(optuna.samplers.RandomSampler):
    """Note which trials the sampler sees."""

    seen = ()

    def sample_relative(self, study, trial, search_space):
        """Draw nothing; look at the study as other samplers do."""
        type(self).seen = [one.number for one in study._get_trials(deepcopy=False)]
        return {}


def leaking(trial):
    """Return a model that is perfect in trial 1, and else better than those before."""
    level = 1 / (1 + trial.number) + trial.suggest_float("level", 0.0, 0.01)
    return Untrained(2, [{"val_mae": 0.0 if trial.number == 1 else level}] * 4)


@pytest.fixture
def tuner(tmp_path):
    options = {"n_trials": 3, "pruner": "none", "keep_best": 3}
    tuner = run(tuner_in(tmp_path, leaking, "val_mae", **options))
    assert tuner.best_trial.number == 1
    tuner.exclude(1, "its data leaked")
    return tuner


def test_an_excluded_trial_has_no_result(tuner, tmp_path, capsys):
    """Another trial is the best, in a fresh process too, and all that is printed marks it."""
    again = tuner_in(tmp_path, leaking, "val_mae")
    for one in (tuner, again):
        assert one.best_value == min(one.results()["value"].dropna()) > 0.0
        assert one.best_trial.number != 1
    row = tuner.results().loc[1]
    assert (row["state"], row["stop_reason"]) == ("EXCLUDED", "excluded: its data leaked")
    page = tuner.report(tmp_path / "report.html").read_text()
    assert "excluded: its data leaked" in page
    assert '<span class="state EXCLUDED">1 EXCLUDED</span>' in page
    tuner.summary()
    assert "Excluded: trial 1 (its data leaked)" in capsys.readouterr().out
    with pytest.raises(NoTrialsError, match=r"trial=1 .* \(excluded: \[1\]\). Pass one of: 0, 2"):
        tuner.best_model(1)


def test_neither_sampler_nor_pruner_sees_it_and_it_counts(tuner, tmp_path):
    """A trial that is worse than it alone is not pruned, and the size of the study stays."""
    more = run(tuner_in(tmp_path, leaking, "val_mae", n_trials=4, sampler=Noting()))
    assert Noting.seen == [0, 2, 3]
    assert len(more.study.trials) == 4
    assert more.best_trial.number == 3


def test_a_copy_of_the_study_sees_at_once_what_others_exclude(tuner, tmp_path, monkeypatch):
    """A pickled study knows nothing of what was read before, maybe by another machine's clock."""
    monkeypatch.setattr(excluded, "_MOMENT", 1e9)
    assert tuner.study.trials[2].value is not None
    tuner_in(tmp_path, leaking, "val_mae").exclude(2, "its data leaked, too")
    assert cloudpickle.loads(cloudpickle.dumps(tuner.study)).trials[2].value is None


def test_an_included_trial_is_the_best_again(tuner, tmp_path):
    """Its value and its weights are as they were, also after another search."""
    run(tuner_in(tmp_path, leaking, "val_mae", n_trials=4, keep_best=1, pruner="none"))
    tuner.include(tuner.study.trials[1])
    assert (tuner.best_trial.number, tuner.best_value) == (1, 0.0)
    assert tuner.best_model().layers[-1].bias.numpy().item() == 0.0


def test_what_cannot_be_excluded_is_an_error(tuner):
    """A trial that is not there, and no reason."""
    with pytest.raises(NoTrialsError, match=r"trial=7 is not COMPLETE or PRUNED. Pass one of: 0, "):
        tuner.exclude(7, "leak")
    with pytest.raises(ArgumentError, match=r"why=' ' gives no reason. Pass a few words"):
        tuner.exclude(0, " ")


def test_an_attribute_of_another_program_excludes_nothing():
    """Its name may be a number, or begin like ours."""
    ours = excluded.EXCLUDED
    foreign = {"3": "not ours", f"{ours}:x": "no number", f"{ours}:4": 5, f"{ours}:5": ""}
    storage = excluded.Excluding(optuna.storages.InMemoryStorage())
    study_id = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE])
    for _ in range(7):
        storage.create_new_trial(study_id)
    for key, why in {**foreign, f"{ours}:6": "leak"}.items():
        storage.set_study_system_attr(study_id, key, why)
    told = [trial.system_attrs.get(ours) for trial in storage.get_all_trials(study_id)]
    assert told == [None] * 6 + ["leak"]
