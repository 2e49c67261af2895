"""Train the best trials longer, from their last epoch, as further trials of their study."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna import _check
from kerastune_optuna._backend import Memory
from kerastune_optuna._exceptions import (
    ArgumentError,
    ArgumentTypeError,
    NoTrialsError,
    WeightsError,
)
from kerastune_optuna._rerun.executions import firsts, train_laid_out
from kerastune_optuna._storage import artifacts
from kerastune_optuna._study import (
    BEGIN,
    END,
    Home,
    beside,
    lay_out,
    opening,
    ranking,
    record,
    seed_of,
)
from kerastune_optuna._trial import (
    LARGEST_STATE,
    Recipe,
    build_again,
    keeps,
    tidy,
    trains_itself,
    whats_wrong,
)
from kerastune_optuna._workers import Run, comparable


def check_extension(home: Home, recipe: Recipe, top: object) -> None:
    """Refuse what cannot be trained on from a last epoch.

    Args:
        home: Where the study lives.
        recipe: What to train with.
        top: How many trials.

    Raises:
        ArgumentError: Says what to pass instead.
    """
    _check.integer("top", top, least=1, instead="Pass how many of the best trials to train on.")
    if trains_itself(recipe.build_model):
        raise ArgumentError(
            "build_model has a fit of its own, whose phases no other call can go on with. Call "
            "refit(x, y, epochs), which trains its configuration anew."
        )
    if recipe.fit.x is None:
        raise ArgumentTypeError(
            "x=None: extend() trains on, and a study does not store data. Pass x=, y= and "
            "validation_data= as to search()."
        )
    if home.objectives.are_several:
        raise ArgumentError(
            f"extend() ranks trials by one objective, and study {home.name!r} is to "
            f"{home.objectives.aim}. Train trials of its front longer by refit(x, y, epochs, "
            "trial=...)."
        )
    _check_study(home, recipe, top)


def _check_study(home: Home, recipe: Recipe, top: object) -> None:
    trainings = home.existing.user_attrs.get(record.TRAININGS, {})
    if recipe.executions > 1 or trainings.get("cv") or trainings.get("executions_per_trial", 1) > 1:
        raise ArgumentError(
            f"A trial of study {home.name!r} is the mean of several trainings, by "
            "executions_per_trial= or cv=, and extend() goes on with a single one. Search again "
            "with more epochs, or refit(x, y, epochs)."
        )
    if recipe.backup_every is None:
        raise ArgumentError(
            "backup_every=None keeps nothing of a training that another could go on with. Pass a "
            "number of seconds, or leave it out, and search."
        )
    if (count := keeps(home.existing, recipe.keep_best)) < int(str(top)):
        raise ArgumentError(
            f"top={top} is more than keep_best={count}, the trials that keep what a training goes "
            f"on from. Pass keep_best={top} to the tuner before it searches."
        )


def extend(run: Run, top: int) -> None:
    """Train the best trials on until each has its epochs.

    Args:
        run: What is to be trained; its budget says how many may fail in a row.
        top: How many trials.

    Raises:
        ArgumentError: The trials have so many epochs already.
        NoTrialsError: The study has fewer.
        WeightsError: What they ended with is not kept, or does not fit build_model.
    """
    home = run.home
    study = beside(home.study, home.name)  # another object: home.study keeps its sampler and pruner
    comparable.warn_if_builder_changed(study, run.recipe)
    comparable.check(study, run.recipe, but=["epochs"])
    chosen = _chosen(study, run.recipe, top)
    artifacts.check_store(home.store)
    recipe = replace(run.recipe, keep_best=keeps(study, run.recipe.keep_best))
    if chosen:
        _lay_out_missing(study, recipe, chosen)
        size = len(opening.finished(study)) + len(chosen)
        numbers = [trial.number for trial in chosen]
        train_laid_out(run, study, recipe, size, _extended, numbers)
    elif run.verbose:
        best = "The best trial" if top == 1 else f"Each of the best {top} trials"
        print(f"{best} of study {study.study_name!r} has all of its epochs already", flush=True)
    tidy(study, recipe)


def _extended(trial: FrozenTrial) -> int | None:
    """Return the number of the trial that a trial extends; None where it extends none."""
    number: int | None = trial.user_attrs.get(record.EXTENDS)
    return number


def _chosen(study: optuna.Study, recipe: Recipe, top: int) -> list[FrozenTrial]:
    """Return the best trials that have not had their epochs yet."""
    best = ranking.farthest(study.get_trials(deepcopy=False), recipe.objectives.watched, top)
    if len(best) < top:
        raise NoTrialsError(
            f"Study {study.study_name!r} has {_check.count(len(best), 'trial')} that came to a "
            f"value, fewer than top={top}. Call search() first, or pass a smaller top=."
        )
    epochs = recipe.fit.epochs_of_a_trial
    short = [trial for trial in best if trial.user_attrs[record.EPOCHS_RUN] < epochs]
    if not short and not any(record.EXTENDS in trial.user_attrs for trial in best):
        most = max(trial.user_attrs[record.EPOCHS_RUN] for trial in best)
        raise ArgumentError(
            f"epochs={recipe.fit.epochs} leaves nothing to train: the best trials ran "
            f"{_check.count(most, 'epoch')}. Pass how many they are to have in all, like "
            f"epochs={recipe.fit.epochs + most}."
        )
    return short


def _lay_out_missing(study: optuna.Study, recipe: Recipe, chosen: Sequence[FrozenTrial]) -> None:
    """Lay out the extensions that a study does not have, or has only failed ones of."""
    extensions = firsts(study, _extended).items()
    there = {number for number, one in extensions if not one.state.is_finished()}
    missing = [trial for trial in chosen if trial.number not in there]
    for trial in missing:
        _check_state(recipe, trial)
    for trial in missing:
        own = {record.EXTENDS: trial.number, record.SEED: trial.user_attrs[record.SEED]}
        lay_out(study, trial.params, {BEGIN: trial.system_attrs[END]}, own)


def _check_state(recipe: Recipe, trial: FrozenTrial) -> None:
    """Refuse a trial that cannot go on, before anything trains.

    Raises:
        WeightsError: Says what is wrong.
    """
    if END not in trial.system_attrs:
        raise WeightsError(
            f"Trial {trial.number} kept nothing that its training could go on from, as the "
            f"keep_best= best trials of one search do, where that takes at most "
            f"{LARGEST_STATE >> 30} GiB. Pass a smaller top=, or refit(x, y, epochs, trial="
            f"{trial.number}), which trains it anew from its seed."
        )
    with Memory().released():
        model, _ = build_again(recipe.build_model, copy.deepcopy(trial), seed_of(trial, None))
        wrong = whats_wrong(recipe.store, trial, model)
        del model
    if wrong is not None:
        raise WeightsError(
            f"What trial {trial.number} would go on from {wrong}. Pass the directory, the store "
            f"and the builder of its search, or refit(x, y, epochs, trial={trial.number}), which "
            "trains it anew from its seed."
        )
