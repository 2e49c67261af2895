"""A study as it is in the middle of a search, for tests of the live display."""

import math

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from kerastune_optuna._report.live import Frame
from kerastune_optuna._report.progress import Plan
from kerastune_optuna._study.objectives import Objectives

EPOCHS = 10
SPACE = {
    "l1_neurons": IntDistribution(16, 64),
    "l2_neurons": IntDistribution(4, 16),
    "activation": CategoricalDistribution(["sigmoid", "relu"]),
    "learning_rate": FloatDistribution(0.001, 0.01),
}


def accuracy(number, epoch):
    """Return how good a trial is after an epoch: they grow at paces of their own."""
    pace = 0.15 + 0.12 * (number * 7 % 5)
    return round(0.35 + (0.5 + 0.04 * (number * 3 % 4)) * (1 - math.exp(-pace * epoch)), 4)


def add_trial(study, number, state, epochs):
    values = {epoch: accuracy(number, epoch) for epoch in range(epochs)}
    best, kind = max(values.values()), ("relu", "sigmoid")[number % 3 == 0]
    chosen = (16 + number * 11 % 49, 4 + number * 5 % 13, kind, 0.001 + number * 0.00137 % 0.009)
    ran = {"best_value": best, "best_epoch": epochs - 1, "epochs_run": epochs}
    own = {"params": dict(zip(SPACE, chosen, strict=True)), "distributions": SPACE}
    own |= {"intermediate_values": values, "user_attrs": ran if state.is_finished() else {}}
    value = best if state is TrialState.COMPLETE else None
    study.add_trial(create_trial(state=state, value=value, **own))


def study_of_the_middle(running=4):
    """Return a study of which 12 trials are done, a third of them pruned, and some run."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(study_name="iris", direction="maximize")
    for number in range(12):
        ended = (TrialState.PRUNED, 3) if number % 3 == 2 else (TrialState.COMPLETE, EPOCHS)
        add_trial(study, number, *ended)
    for number in range(12, 12 + running):
        add_trial(study, number, TrialState.RUNNING, 2 + number * 5 % 8)
    return study


def frame(study, *, is_over=False):
    """Return the picture of a study 31 seconds after its search began."""
    objectives = Objectives.parse("val_accuracy", "auto")
    return Frame(Plan(study.study_name, objectives, 30, EPOCHS), study.trials, 31.4, is_over)
