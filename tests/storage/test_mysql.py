"""MariaDB: a study whose name differs by capitals alone, and texts that have no room."""

import pytest

from kerastune_optuna import StudyMismatchError, TooManyFailuresError
from tests.support.faults import states
from tests.support.servers import database
from tests.support.untrained import Untrained, build, run, tuner_in


@pytest.fixture(scope="module")
def url():
    with database("mariadb") as found:
        yield found


@pytest.fixture
def make(url, tmp_path, request):
    """Give a maker of tuners, whose connections are closed in the end."""
    made = []

    def tuner(build, objective="val_mae", **options):
        options = {"storage": url, "study_name": request.node.name[:200], "n_trials": 1, **options}
        made.append(tuner_in(tmp_path, build, objective, **options))
        return made[-1]

    yield tuner
    for one in made:
        one._home.storage.remove_session()


def test_a_study_of_another_name_is_not_taken_for_ours(make):
    """A study whose name differs by capitals is named, and not gone on with."""
    other = make(build, study_name="Iris").study
    told = "Study 'iris' cannot be created, since study 'Iris' exists"
    with pytest.raises(StudyMismatchError, match=told):
        make(build, study_name="iris").enqueue({"level": 0.5})
    assert not other.trials


@pytest.mark.slow
def test_a_text_that_has_no_room_fails_its_trial_once(make):
    """A server in strict mode, the default, refuses it; the search goes on with others."""

    def noting(trial):
        if trial.number == 1:
            trial.set_user_attr("notes", "x" * 70_000)
        return build(trial)

    tuner = run(make(noting, n_trials=3, pruner="none"))
    assert states(tuner) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    reason = tuner.study.trials[1].user_attrs["stop_reason"]
    assert "exceeding max length" in reason


@pytest.mark.slow
def test_what_we_write_ourselves_is_cut(make):
    """Hundreds of broken constraints, a long argument and an error's text all have room."""

    def of_all(trial, model):
        return [1.0] * 130

    of_all.__name__ = "x" * 490

    def failing(trial):
        if trial.suggest_int("one", 0, 100) and trial.number == 0:
            raise ValueError("x" * 100_000)
        return Untrained(2, [{"val_mae": 1.0}])

    tuner = make(failing, n_trials=1, constraints=[of_all])
    with pytest.raises(TooManyFailuresError):  # none was trained
        run(tuner, class_weight=dict.fromkeys(range(20_000), 1.0))
    assert states(tuner) == ["FAIL", "PRUNED"]
    assert all(len(trial.user_attrs["stop_reason"]) <= 300 for trial in tuner.study.trials)
