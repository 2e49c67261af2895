"""Trials of earlier studies give a search a start: its sampler sees them, or they go first."""

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState, create_trial

from kerastune_optuna import ArgumentError, _report
from kerastune_optuna._study import own_runs
from tests.support.models import PruneAt
from tests.support.untrained import Untrained, X, cheap, run, tuner_in
from tests.zoo.data import Batches

OTHER = {"validation_data": (X + 1, X)}  # data that differs from that of run()
MORE = {"epochs": 6}
MEASURED, UNKNOWN = {}, {"validation_data": Batches(X, X)}  # which is not read


class Spy(RandomSampler):
    """Keep the values of the COMPLETE trials that the sampler is shown for each parameter."""

    def __init__(self):
        super().__init__(seed=0)
        self.seen = []

    def sample_independent(self, study, trial, name, distribution):
        """Look, and draw by chance."""
        seen = study._get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        self.seen.append([one.value for one in seen])
        return super().sample_independent(study, trial, name, distribution)


def build_model(trial):
    level = trial.suggest_float("lr", 1e-3, 1e-1, log=True)
    return Untrained(trial.suggest_int("units", 2, 80), [{"val_mae": level}] * 6)


def dropping(trial):
    """Return a model whose rate has another name, and which has a dropout."""
    trial.suggest_float("dropout", 0.0, 0.5)
    level = trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True)
    return Untrained(trial.suggest_int("units", 2, 80), [{"val_mae": level}] * 6)


def searched(folder, **options):
    options |= {"study_name": "earlier", "pruner": PruneAt([2], step=1), **cheap()}
    return run(tuner_in(folder, build_model, "val_mae", n_trials=3, **options))


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """Give a tuner that has searched three trials, which no test may change."""
    return searched(tmp_path_factory.mktemp("earlier") / "tuning")


@pytest.fixture
def search(quick):
    """Give a function that searches a study of one name, which is in memory."""

    def run_one(build=build_model, fit=(), **options):
        return run(quick(build, **{"pruner": "none", **options}), **dict(fit))

    return run_one


def best_of(tuner):
    """Return the parameters of a search's trials, the best trial's first."""
    table = tuner.results().sort_values("best_value", kind="stable")
    return [tuner.study.trials[number].params for number in table["number"]]


def test_trials_of_the_same_data_are_shown_to_the_sampler(search, earlier, capsys):
    """It sees them with the values of their best epochs; they count nowhere, and are no best."""
    spy = Spy()
    tuner = search(warm_start=earlier.study, sampler=spy, n_trials=1, fit={"verbose": 2})
    assert sorted(spy.seen[0]) == sorted(earlier.results()["best_value"])
    assert len(tuner.study.trials) == 1
    card = tuner.study.user_attrs[f"card:{tuner.study.trials[0].user_attrs['card']}"]
    assert card["study"]["trials_known"] == 3
    line = "Warm start: the sampler knows 3 earlier trials of the same data"
    assert line in capsys.readouterr().out.splitlines()


def test_trials_of_other_data_go_first(search, earlier, capsys):
    """The best configurations are tried first, and the sampler sees no value of other data."""
    spy, fit = Spy(), {**OTHER, "verbose": 2}
    tuner = search(warm_start=earlier.study, sampler=spy, n_trials=4, fit=fit)
    assert [trial.params for trial in tuner.study.trials[:3]] == best_of(earlier)
    assert spy.seen[0] == [trial.value for trial in tuner.study.trials[:3]]
    line = "Warm start: the best 3 configurations of 3 other trials go first"
    assert line in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("order", [(MEASURED, UNKNOWN), (UNKNOWN, MEASURED)])
def test_trials_of_data_that_nobody_can_compare_are_not_of_the_same(search, tmp_path, order):
    """A study that was searched with other data before or after has such trials, too."""
    for n_trials, data in enumerate(order, start=1):
        options = {"n_trials": n_trials, "study_name": "earlier", "pruner": "none"}
        tuner = run(tuner_in(tmp_path, build_model, "val_mae", **options), **data)
    spy = Spy()
    search(warm_start=tuner.study, sampler=spy, n_trials=1)
    assert not any(spy.seen), "the sampler was shown values of other data"


@pytest.mark.parametrize(
    "given",
    [
        lambda tuner: tuner.results(),
        lambda tuner: tuner.study.trials_dataframe().rename(columns={"value_val_mae": "value"}),
        lambda tuner: [tuner.study, tuner.results()],
    ],
    ids=["results", "renamed table", "list"],
)
def test_trials_come_in_many_forms(search, earlier, given):
    """Tables and lists stand for a study."""
    tuner = search(warm_start=given(earlier), n_trials=1, fit=OTHER)
    assert tuner.study.trials[0].params == best_of(earlier)[0]


@pytest.mark.slow
def test_several_sources_take_turns(search, earlier, tmp_path):
    """The best of each source goes before the second of any."""
    second = searched(tmp_path, seed=1)
    tuner = search(warm_start=[earlier.study, second.study], n_trials=2, fit=MORE)
    firsts = [best_of(earlier)[0], best_of(second)[0]]
    assert [trial.params for trial in tuner.study.trials[:2]] == firsts


def test_a_table_renames_parameters_and_adds_some(search, earlier):
    """Columns of results() that are renamed and added fit trials to another builder."""
    table, spy = earlier.results().rename(columns={"params_lr": "params_learning_rate"}), Spy()
    search(dropping, warm_start=table.assign(params_dropout=0.1), sampler=spy, n_trials=1)
    assert len(spy.seen[0]) == 3


def test_one_of_several_objectives_is_renamed(search):
    """Its column becomes the value, and the best trials are the best ones of the new search."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    for units in (3, 4, 5):
        given = {"params": {"units": units}, "distributions": {"units": IntDistribution(2, 80)}}
        study.add_trial(create_trial(values=[units, units], **given))
    table = _report.results(study)
    tuner = search(warm_start=table.rename(columns={"values_value 1": "value"}), n_trials=1)
    assert tuner.study.trials[0].params["units"] == 3


def test_trials_that_fit_in_part_go_first(search, earlier, capsys):
    """A line says what is not used; what is missing is left to the sampler."""
    tuner = search(dropping, warm_start=earlier.study, n_trials=1, fit={"verbose": 2})
    params = tuner.study.trials[0].params
    assert params["units"] == best_of(earlier)[0]["units"]
    assert 0 < params["dropout"] < 0.5
    assert (
        "Warm start: the best 3 configurations of 3 other trials go first; build_model does not "
        "ask for lr"
    ) in capsys.readouterr().out.splitlines()


def test_conditional_parameters_and_none_survive_a_table(search):
    """A table writes what was not asked for and None alike; the builder tells them apart."""

    def with_choice(trial):
        if trial.suggest_categorical("second", [None, "relu"]) is not None:
            trial.suggest_int("width", 2, 4)
        return build_model(trial)

    tuner, spy = search(with_choice, n_trials=4), Spy()
    assert {len(trial.params) for trial in tuner.study.trials} == {3, 4}
    table, again = tuner.results(), {"study_name": "again", "sampler": spy, "n_trials": 1}
    search(with_choice, warm_start=table, **again)
    assert sorted(spy.seen[0]) == sorted(table["best_value"])


@pytest.mark.slow
def test_a_search_that_goes_on_adds_nothing(search, tmp_path):
    """What goes first is laid out in a new study alone."""
    earlier = searched(tmp_path)
    first, options = best_of(earlier), {"warm_start": earlier.study, "fit": MORE}
    search(n_trials=2, **options)
    run(earlier, n_trials=5)
    tuner = search(n_trials=4, **options)
    assert sum(trial.params in first for trial in tuner.study.trials) == 3


def test_a_search_that_began_nothing_leaves_a_new_study(quick, search, earlier, capsys):
    """A trial that was one too many keeps no configuration from going first."""
    study = quick(build_model).study
    own_runs.withdraw(study, own_runs.begin(study))
    tuner = search(warm_start=earlier.study, n_trials=1, fit={**OTHER, "verbose": 2})
    assert tuner.study.trials[1].params == best_of(earlier)[0]
    assert "Continuing" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_study_may_give_its_own_successor_a_start(tmp_path):
    """It is read before overwrite=True deletes it."""
    given, spy = searched(tmp_path).study, Spy()
    options = {"study_name": "earlier", "overwrite": True, "n_trials": 1, "sampler": spy}
    options |= {"storage": given._storage, "warm_start": given}
    tuner = run(tuner_in(tmp_path, build_model, "val_mae", **options))
    assert len(spy.seen[0]) == 3
    assert len(tuner.study.trials) == 1


def test_a_source_without_trials_is_refused(search, earlier):
    """Before anything is trained, one line says what the source lacks."""
    told = r"got 3 trials with lr, units; build_model asks for depth \(1 to 3\)\. If"
    with pytest.raises(ArgumentError, match=told):
        search(lambda trial: trial.suggest_int("depth", 1, 3), warm_start=earlier.study)
    with pytest.raises(ArgumentError, match="got no trial with a"):
        search(warm_start=optuna.create_study())
