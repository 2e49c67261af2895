"""The default pruner compares curves, and says nothing where it cannot."""

import math

import numpy as np
import optuna
import pytest
from optuna.pruners import MedianPruner, NopPruner, PercentilePruner, SuccessiveHalvingPruner
from optuna.trial import create_trial

from kerastune_optuna._search.pruner import WilcoxonPruner
from tests.support.faults import states
from tests.support.untrained import Untrained, run


def study_with(curve, direction="maximize"):
    study = optuna.create_study(direction=direction, pruner=WilcoxonPruner())
    best = max(curve, default=1.0) if direction == "maximize" else min(curve, default=1.0)
    study.add_trial(create_trial(value=best, intermediate_values=dict(enumerate(curve))))
    return study


def first_pruned(study, curve):
    """Return the step at which a trial with that curve is pruned; None where it never is."""
    trial = study.ask()
    for step, value in enumerate(curve):
        trial.report(value, step)
        if trial.should_prune():
            return step
    return None


@pytest.mark.parametrize(
    ("direction", "good", "bad"), [("maximize", 0.9, 0.2), ("minimize", 0.2, 0.9)]
)
def test_a_curve_that_is_worse_throughout_is_pruned(direction, good, bad):
    """That is at its third epoch, and not where its mean or its best epoch is better."""
    assert first_pruned(study_with([good] * 5, direction), [bad] * 5) == 2
    assert first_pruned(study_with([bad] * 5, direction), [good] * 5) is None
    assert first_pruned(study_with([0.5, 0.6, 0.7, 0.8]), [0.4, 0.7, 0.8, 0.9]) is None
    assert first_pruned(study_with([0.5] * 5), [0.6, 0.2, 0.2, 0.2, 0.2]) is None


@pytest.mark.parametrize("best", [None, [], [0.9, 0.9], [0.9, math.inf, 0.9, 0.9]])
def test_nothing_to_compare_with_is_no_news(best):
    """No trial, or one without a curve, with a short or an infinite one, prunes or warns."""
    none = optuna.create_study(direction="maximize", pruner=WilcoxonPruner())
    study = none if best is None else study_with(best)
    assert first_pruned(study, [0.2, 0.1, 0.2, 0.1]) is None


@pytest.mark.parametrize(
    ("levels", "direction"), [(2, "maximize"), (4, "minimize"), (1000, "maximize")]
)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(("epochs", "threshold"), [(11, 0.2), (12, 0.05)])
def test_it_decides_as_optunas_does(levels, direction, epochs, threshold):
    """On these curves, with ties and with none, each decision is that of Optuna's own pruner."""
    rng = np.random.default_rng(levels)
    optunas = optuna.pruners.WilcoxonPruner(p_threshold=threshold)
    for length in (*range(2, 10), 16, 50, 51):
        best, own = rng.integers(0, levels, (2, length)) / levels + rng.normal() * 0.2
        study = study_with(list(best), direction)
        trial = study.ask()
        for step, value in enumerate(own + rng.choice([-0.3, 0, 0.3])):
            trial.report(value, step)
            frozen = study.get_trials()[-1]
            if not 9 <= step < 13:  # for which SciPy takes seconds
                ours = WilcoxonPruner(epochs).prune(study, frozen)
                assert ours == optunas.prune(study, frozen)


def test_a_tuner_prunes_with_it(quick):
    """A tuner that was given no pruner has the default one, and it ends a weak trial."""

    def stands_still(trial):
        level = trial.suggest_float("level", 0.0, 1.0) / 9 + (trial.number > 0)
        return Untrained(2, [{"val_mae": level}] * 5)

    tuner = run(quick(stands_still, n_trials=2))
    assert isinstance(tuner.study.pruner, WilcoxonPruner)
    assert states(tuner) == ["COMPLETE", "PRUNED"]
    assert tuner.results()["stop_reason"][1] == "pruned at epoch 3/5 by WilcoxonPruner"


KINDS = {"none": NopPruner, "median": MedianPruner, "percentile": PercentilePruner}
KINDS |= {"halving": SuccessiveHalvingPruner, "wilcoxon": WilcoxonPruner}


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_a_pruner_has_a_name(quick, name, kind):
    """A name makes Optuna's pruner."""
    assert type(quick(pruner=name).study.pruner) is kind


def test_hyperband_knows_the_epochs(quick):
    """Its largest resource is the number of epochs, also for a tuner that has not searched."""
    tuner = run(quick(pruner="hyperband", n_trials=2), epochs=3)
    assert len(tuner.study.trials) == 2
    for known in (tuner, quick(pruner="hyperband")):
        assert known.study.pruner._max_resource == 3


def test_a_sampler_sees_the_trials_of_a_bracket_alone(quick):
    """Hyperband compares what had as many epochs: its samplers learn from that, too."""
    seen = []

    class Spy(optuna.samplers.RandomSampler):
        def infer_relative_search_space(self, study, trial):
            seen.append(len(study.get_trials(deepcopy=False)))
            return {}

    tuner = quick(pruner="hyperband", n_trials=6, sampler=Spy(seed=0))
    assert len(run(tuner).study.trials) == len(seen) == 6
    assert sum(seen) < sum(range(1, 7)), "all trials are shown to each"


def test_the_best_trial_is_read_once_in_a_moment(monkeypatch):
    """Of short epochs one asks for the best trial; a later one sees that another is the best."""
    study, asked = study_with([0.5] * 9), []
    best = type(study).best_trial.fget
    noting = property(lambda own: asked.append(1) or best(own))
    monkeypatch.setattr(type(study), "best_trial", noting)
    trial = study.ask()
    for step in range(3):
        trial.report(0.6, step)
        assert not trial.should_prune()
    assert len(asked) == 1
    study.add_trial(create_trial(value=0.9, intermediate_values=dict(enumerate([0.9] * 9))))
    monkeypatch.setattr("kerastune_optuna._search.pruner._MOMENT", -1.0)
    first_pruned(study, [0.1])  # another trial asks anew
    trial.report(0.6, 3)
    assert trial.should_prune()
