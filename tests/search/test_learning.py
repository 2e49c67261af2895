"""What samplers learn of trials that Optuna's own do not see, without any training."""

import copy
import math
import warnings
from functools import partial
from importlib.util import find_spec

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from kerastune_optuna import GaussianProcessSampler
from kerastune_optuna._search.learning import LearningSampler
from kerastune_optuna._storage import EXCLUDED
from kerastune_optuna._study import TrialRecord
from kerastune_optuna._study.objectives import Objective
from tests.support.untrained import build, run, tuner_in

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
QUIET_GP = partial(GPSampler, warn_independent_sampling=False)
ERROR = Objective("val_mae", "minimize")
ACCURACY = Objective("val_accuracy", "maximize")
GENERATION = "NSGAIISampler:generation"  # the attribute in which a trial has it
COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


def tell(study, trial, value):
    """End a trial, which has no value where it broke its constraint."""
    study.tell(trial, value, PRUNED if value is None else COMPLETE)


def broken(sampler, trials):
    """Ask a sampler for trials of which large ones break a constraint; count them in the end."""
    study = optuna.create_study(sampler=sampler)
    for _ in range(trials):
        trial = study.ask()
        units, level = trial.suggest_int("units", 1, 10_000), trial.suggest_float("level", 0.0, 1.0)
        trial.set_constraint("max_params", units - 3_333)
        tell(study, trial, level if units <= 3_333 else None)
    return sum(trial.state is PRUNED for trial in study.trials[-(trials // 3) :])


@pytest.mark.parametrize(
    ("make", "trials"),
    [
        (lambda: CmaEsSampler(seed=2, warn_independent_sampling=False), 60),
        pytest.param(lambda: QUIET_GP(seed=2), 18, marks=[needs_torch, pytest.mark.slow]),
    ],
    ids=["cmaes", "gp"],
)
def test_samplers_of_complete_trials_learn_constraints(make, trials):
    """Shown broken trials as bad ones, they draw half as many of them in the end as alone."""
    taught = broken(LearningSampler(make(), ERROR, constrained=True, may_repeat=True), trials)
    with warnings.catch_warnings(action="ignore"):  # of CMA-ES, which makes no use of constraints
        assert taught < 0.5 * broken(make(), trials)


class Spy(TPESampler):
    """Keep the COMPLETE trials that a sampler is shown when it draws all parameters."""

    def sample_relative(self, study, trial, search_space):
        """Look, and leave the draw to chance."""
        seen = study._get_trials(deepcopy=False, states=(COMPLETE,))
        self.seen = {one.number: one.value for one in seen}
        return {}


def ended(state, *reports, value=None, names=("x",), **attrs):
    ranges = dict.fromkeys(names, FloatDistribution(0.0, 1.0))
    own = {"params": dict.fromkeys(names, 0.5), "distributions": ranges, "user_attrs": attrs}
    curve = dict(enumerate(reports))
    return create_trial(state=state, value=value, intermediate_values=curve, **own)


@pytest.mark.parametrize(
    ("others", "shown"),
    [
        ([ended(PRUNED, 0.3, 0.6, math.nan, 0.4), ended(FAIL)], {1: 0.6}),
        ([ended(PRUNED, 0.4), ended(PRUNED)], {1: 0.8, 2: 0.8}),
        ([ended(PRUNED, 0.3, 0.6)], {1: 0.8}),
        ([ended(PRUNED, 0.4, **{TrialRecord.code: "DIVERGED"})], {1: 0.4}),
        ([ended(PRUNED, 0.3, 0.6), ended(FAIL, names=())], {1: 0.8}),
    ],
    ids=["with NaN, and a failure", "forbidden", "pruned", "diverged", "without parameters"],
)
def test_a_pruned_trial_is_shown_with_what_it_may_have_come_to(others, shown):
    """It gains what the best one did, unless it diverged; a forbidden one is bad."""
    study = optuna.create_study(direction="maximize")
    study.add_trials([ended(COMPLETE, 0.5, 0.7, 0.9, value=0.9), *others])
    spy = Spy()
    study.sampler = LearningSampler(spy, ACCURACY, constrained=False, may_repeat=True)
    study.ask().suggest_float("x", 0.0, 1.0)
    assert spy.seen == pytest.approx({0: 0.9, **shown})
    assert [trial.value for trial in study.get_trials(states=(COMPLETE,))] == [0.9]


def test_a_trial_that_is_excluded_in_a_search_is_shown_no_more():
    """It was shown as a COMPLETE one before, and the sampler keeps what it shows."""
    study = optuna.create_study(direction="maximize")
    study.add_trials([ended(COMPLETE, 0.5, 0.9, value=0.9), ended(PRUNED, 0.3)])
    study.sampler = learning = LearningSampler(Spy(), ACCURACY, constrained=False, may_repeat=True)
    study.ask().suggest_float("x", 0.0, 1.0)
    trial = study.get_trials()[1]
    assert learning.as_complete(study, trial).value == pytest.approx(0.7)
    trial.system_attrs = {EXCLUDED: "a leak"}
    assert learning.as_complete(study, trial) is None


@pytest.mark.parametrize(
    "make", [GaussianProcessSampler, pytest.param(QUIET_GP, marks=needs_torch)], ids=["ours", "gp"]
)
def test_a_broken_trial_of_another_branch_is_no_obstacle_to_a_gp(make):
    """The first trial broke a constraint, in a branch that lacks a parameter of all others."""
    gp = make(seed=0, n_startup_trials=3)
    learning = LearningSampler(gp, ERROR, constrained=True, may_repeat=False)
    study = optuna.create_study(sampler=learning)
    for excess in (1.0, -1.0, -1.0, -1.0, -1.0, -1.0):
        trial = study.ask()
        level = trial.suggest_float("level", 0.0, 1.0)
        if excess < 0:
            trial.suggest_float("momentum", 0.0, 1.0)
        trial.set_constraint("max_params", excess)
        tell(study, trial, level if excess < 0 else None)
    assert set(trial.relative_params) == {"level", "momentum"}


def taught(sampler, **options):
    return LearningSampler(sampler, ERROR, constrained=False, may_repeat=False, **options)


@pytest.mark.parametrize(
    ("make", "widest"),
    [
        (lambda: TPESampler(seed=0), 4),
        (lambda: RandomSampler(seed=0), 4),
        (lambda: CmaEsSampler(seed=0, n_startup_trials=2, warn_independent_sampling=False), 4),
        (lambda: GaussianProcessSampler(0, 4), 3),
    ],
    ids=["tpe", "random", "cmaes", "gp"],
)
def test_no_configuration_comes_again_while_another_is_left(make, widest):
    """All are drawn once each, also the last one, which hardly any draw by chance would meet."""
    study, many = optuna.create_study(sampler=taught(make())), widest + widest**2
    for _ in range(many):
        trial = study.ask()
        layers = trial.suggest_int("layers", 1, 2)
        widths = [trial.suggest_int(f"units_{layer}", 1, widest) for layer in range(layers)]
        study.tell(trial, sum(widths) / layers)
    assert len({tuple(trial.params.values()) for trial in study.trials}) == many


def test_copies_of_a_script_draw_other_numbers():
    """Each has a sampler with the same seed, and none draws what another one does."""
    study = optuna.create_study()
    copies = [taught(TPESampler(seed=5), seed=5) for _ in range(3)]
    for study.sampler in copies * 4:
        trial = study.ask()
        study.tell(trial, trial.suggest_float("x", 0, 1))
    assert len({trial.value for trial in study.trials}) == 12


@pytest.mark.parametrize("is_new", [True, False], ids=["new sampler", "same sampler"])
def test_generations_go_on_after_a_trial_was_excluded(tmp_path, is_new):
    """Optuna 5.1 takes the number of a trial for its place among those that it is shown."""

    def search(n_trials, sampler):
        options = {"sampler": sampler, "pruner": "none", "n_trials": n_trials}
        return run(tuner_in(tmp_path, build, "val_mae", **options))

    def make():
        return NSGAIISampler(population_size=4, seed=0)

    sampler = make()
    search(6, sampler).exclude(1, "a test")
    tuner = search(12, make() if is_new else sampler)
    generations = [trial.system_attrs[GENERATION] for trial in tuner.study.trials]
    assert generations == [number // 4 for number in range(12)]


def test_trials_of_a_warm_start_are_of_no_generation():
    """They have numbers below 0, and stand before those of the study."""
    earlier = optuna.create_study(sampler=RandomSampler(seed=0))
    earlier.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    warm = [copy.copy(trial) for trial in earlier.trials]
    for number, trial in enumerate(warm):
        trial.number = number - len(warm)
    study = optuna.create_study()
    study.sampler = taught(NSGAIISampler(population_size=4, seed=0), warm_trials=warm)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=12)
    generations = [trial.system_attrs[GENERATION] for trial in study.trials]
    assert generations == [0] * 4 + [1] * 4 + [2] * 4
