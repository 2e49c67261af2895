"""What trials note and report in a search reaches the database soon, together and in order."""

import cloudpickle
import optuna
import pytest
import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from kerastune_optuna._storage import database, held
from tests.support.storages import empty

_SERVERS = [pytest.param(one, marks=pytest.mark.slow) for one in ("postgresql", "mariadb")]


@pytest.fixture(params=["sqlite", *_SERVERS])
def url(request, tmp_path):
    """Give the URL of an empty database of each kind."""
    with empty(request.param, tmp_path) as url:
        yield url or f"sqlite:///{tmp_path}/study.db"


@pytest.fixture
def study(url, monkeypatch):
    """Give a study in which nothing that is held is due until something else is asked."""
    monkeypatch.setattr(held, "_SECONDS", 1e9)
    study = optuna.create_study(storage=database.connect(url))
    yield study
    study._storage.remove_session()


def in_few(study):
    """Begin the block of a search."""
    return held.few_transactions(study._storage)


def seen(study, url):
    """Return the trials as another process would see them now."""
    storage = optuna.storages.RDBStorage(url)
    trials = optuna.load_study(study_name=study.study_name, storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    return trials


def test_all_that_is_held_takes_one_transaction(study):
    """Ten reports and five attributes cost what one of them costs outside of a search."""
    ended = []
    engine = database.Location(study._storage).database.engine
    sqlalchemy.event.listen(engine, "commit", ended.append)
    trial = study.ask()
    with in_few(study):
        trial.set_user_attr("first", 0)  # is due, as nothing was written before
        ended.clear()
        for number in range(10):
            trial.report(number / 2, number)
            trial.set_user_attr(f"attr{number % 5}", number)
        assert not ended
    assert len(ended) == 1


def test_the_process_itself_sees_all_at_once(study):
    """Whatever it reads comes after what it wrote: NaN too, and the latest of two attributes."""
    trial = study.ask()
    with in_few(study):
        for value in (1, {"a": [None, "ü"]}):
            trial.set_user_attr("attr", value)
        trial.report(float("nan"), 0)
        trial.report(float("-inf"), 1)
        (found,) = study.get_trials()
    assert found.user_attrs == {"attr": {"a": [None, "ü"]}}
    assert str(found.intermediate_values) == "{0: nan, 1: -inf}"


def test_others_see_all_once_the_trial_has_ended(study, url):
    """No trial is COMPLETE before all that it noted is in the database."""
    trial = study.ask()
    with in_few(study):
        trial.set_user_attr("a", 1)
        trial.set_user_attr("b", 2)
        trial.report(0.5, 0)
        assert seen(study, url)[0].intermediate_values == {}
        study.tell(trial, 0.5)
        (found,) = seen(study, url)
    assert (found.state, found.user_attrs) == (TrialState.COMPLETE, {"a": 1, "b": 2})
    assert found.intermediate_values == {0: 0.5}


def test_what_others_have_ended_takes_nothing_more(study, url):
    """Whatever asks next drops the rest, the trial's own next call says so, others get theirs."""
    trial, other = study.ask(), study.ask()
    with in_few(study):
        trial.set_user_attr("before", 1)
        optuna.load_study(study_name=study.study_name, storage=url).tell(0, state=TrialState.FAIL)
        trial.report(1.0, 0)
        other.report(2.0, 0)
        assert [one.intermediate_values for one in study.trials] == [{}, {0: 2.0}]
        with pytest.raises(UpdateFinishedTrialError):
            trial.report(1.0, 1)


@pytest.mark.parametrize(("key", "value"), [("long", "x" * 600), ("ü", 1), ("y" * 501, 1)])
def test_what_the_database_might_refuse_is_written_at_once(study, url, key, value):
    """Its own call raises the error; what came before is there first."""
    trial = study.ask()
    with in_few(study):
        trial.set_user_attr("first", 0)
        trial.set_user_attr("short", 1)
        trial.set_user_attr(key, value)
        assert set(seen(study, url)[0].user_attrs) == {"first", "short", key}


def test_what_fails_is_not_tried_again(study):
    """A report that no database takes raises its error once, and the search goes on."""
    trial = study.ask()
    with in_few(study):
        trial.set_user_attr("first", 0)
        study._storage._trials[trial._trial_id].reports[0] = "no number"
        with pytest.raises(Exception, match="number"):
            study.get_trials()
        trial.set_user_attr("second", 1)
    assert study.trials[0].user_attrs == {"first": 0, "second": 1}


def test_keys_that_a_database_takes_for_one_are_both_told(study):
    """MariaDB overwrites the first by the second, as it does outside of a search."""
    trial, losses = study.ask(), [2]
    with in_few(study):
        trial.set_user_attr("Loss", 1)
        trial.set_user_attr("loss", losses)
        losses.append(3)  # does not change what was set
    assert list(study.trials[0].user_attrs.values()) in ([1, [2]], [[2]])


def test_another_search_and_a_copy_hold_nothing_of_their_own(study):
    """A second thread's block ends before the first, and a pickled trial writes at once."""
    trial = study.ask()
    with in_few(study):
        trial.set_user_attr("a", 1)
        with in_few(study):
            trial.set_user_attr("a", 2)
        cloudpickle.loads(cloudpickle.dumps(trial)).set_user_attr("b", 3)
    assert study.trials[0].user_attrs == {"a": 2, "b": 3}


def test_a_slow_epoch_is_reported_at_once(study, url, monkeypatch):
    """Nothing is held where the last write was longer ago than what a kill may cost."""
    monkeypatch.setattr(held, "_SECONDS", 0.0)
    trial = study.ask()
    with in_few(study):
        for step in range(2):
            trial.report(1.0, step)
            assert step in seen(study, url)[0].intermediate_values


def test_a_search_reads_the_attributes_of_a_study_once_in_a_moment(study, url, monkeypatch):
    """What others set comes a moment later, what this process set at once, and all outside."""
    monkeypatch.setattr(held, "_MOMENT", 1e9)
    other = optuna.load_study(study_name=study.study_name, storage=url)._storage
    storage, study_id = study._storage, study._study_id
    with in_few(study):
        storage.set_study_system_attr(study_id, "ours", 1)
        assert storage.get_study_system_attrs(study_id) == {"ours": 1}
        other.set_study_system_attr(study_id, "theirs", 2)
        assert storage.get_study_system_attrs(study_id) == {"ours": 1}
    assert storage.get_study_system_attrs(study_id) == {"ours": 1, "theirs": 2}
    other.remove_session()
