"""Whether trials can be compared: their data, epochs, batches and precision."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import optuna

from kerastune_optuna import _check, _source
from kerastune_optuna._data import measure
from kerastune_optuna._exceptions import StudyMismatchError
from kerastune_optuna._study import StudyRecord, TrialRecord, opening
from kerastune_optuna._trial import Recipe

_KNOWN = "are_known"  # in a study's record: whether the data of all its searches was measured
_ANEW = "another study_name, or overwrite=True to start anew"


def warn_if_builder_changed(study: optuna.Study, recipe: Recipe) -> None:
    """Warn if the latest trials of a study came from other code than this builder's."""
    latest = (StudyRecord(study).given or {}).get("code")
    if latest and (changed := _source.changed(latest, recipe.digests)):
        also = " or of the data's functions" * bool(recipe.fit.functions)
        _check.warn(
            f"The code of build_model{also} has changed since the latest search of study "
            f"{study.study_name!r} ({', '.join(changed)}): its earlier trials may not compare with "
            "new ones. If so, pass another study_name, or overwrite=True to start anew."
        )


def claim(study: optuna.Study, recipe: Recipe, n_trials: int | None) -> None:
    """Check that new trials compare with those of the study, and record their data and arguments.

    Results of trials with other data or arguments are not taken over. Data that functions load in
    other processes, and data whose rows are drawn at random, is not compared.

    Args:
        study: The study that is about to be searched.
        recipe: What its new trials share.
        n_trials: The size of the study. A study that has reached it keeps its record.

    Raises:
        StudyMismatchError: The trials of the study were measured on other validation data.
    """
    before, now = StudyRecord(study).given or {}, _given(recipe)
    trials = study.get_trials(deepcopy=False)
    if not all(TrialRecord(trial).has_no_result for trial in trials):
        warn_if_builder_changed(study, recipe)
    if goes_on := any(map(opening.is_measured, trials)):
        _check_same(study, before, now)
    if n_trials is not None and len(opening.finished(study)) >= n_trials:
        return
    is_other = any(_changes(before, now)) or before.get("code") not in (None, now["code"])
    measured = {name: one for name, one in now.items() if one is not None}
    are_known = _are_known(now) and (_are_known(before) or not goes_on)
    StudyRecord(study).given = {**before, **measured, _KNOWN: are_known}
    opening.note_epochs(study, recipe.epochs_in_all, is_other=is_other)


def _check_same(study: optuna.Study, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse validation data that differs from that of earlier trials; warn of other changes."""
    if not _may_be_same(before.get("validation"), now["validation"]):
        raise StudyMismatchError(
            f"Study {study.study_name!r} exists, and its trials were measured on other validation "
            "data, so their values do not compare with new ones. If train_test_split drew these "
            f"rows, pass it random_state=. Otherwise pass the same validation data, {_ANEW}."
        )
    if changes := list(_changes(before, now)):
        _check.warn(
            f"Not as in the trials that study {study.study_name!r} has: {'; '.join(changes)}. "
            f"Their values may not compare with those of new trials. If so, pass {_ANEW}."
        )


def are_same(before: Mapping[str, Any], recipe: Recipe) -> bool:
    """Whether trials certainly had the same data, epochs and batches as a recipe has."""
    now = _given(recipe)
    are_known = _are_known(before) and _are_known(now)
    is_validation = _may_be_same(before.get("validation"), now["validation"])
    return are_known and is_validation and not any(_changes(before, now))


def _are_known(given: Mapping[str, Any]) -> bool:
    """Whether the data of all trials was measured, which a study's record has to say itself."""
    is_measured = None not in (given.get("training"), given.get("validation"))
    return is_measured and bool(given.get(_KNOWN, True))


def _given(recipe: Recipe) -> dict[str, Any]:
    """Return what the trials of a recipe are compared by."""
    fit = recipe.fit
    if fit.folds:
        validation = measure(fit.x, fit.y)
    elif fit.validation_split:
        validation = measure(fit.x, fit.y, split=fit.validation_split)
    else:
        validation = measure(fit.validation_data)
    return {
        "epochs": fit.epochs_per_training,
        "batch_size": int(fit.batch_size),
        "dtype_policy": keras.config.dtype_policy().name,
        "code": recipe.digests,
        "training": measure(fit.x, fit.y, fit.others.get("sample_weight")),
        "validation": validation,
    }


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield what has changed other than the validation data."""
    for name in ("epochs", "batch_size", "dtype_policy"):
        if before.get(name) not in (None, now[name]):
            yield f"{name} was {before[name]} and is {now[name]}"
    if not _may_be_same(before.get("training"), now["training"]):
        yield "the training data has changed"


def _may_be_same(before: Any, now: Any) -> bool:
    """Whether data may be the same, apart from rounding, since sums depend on their order.

    Data that was not measured may be the same.
    """
    if isinstance(before, list) and isinstance(now, list):
        return len(before) == len(now) and all(map(_may_be_same, before, now))
    if isinstance(before, float) and isinstance(now, float):
        return math.isclose(before, now, rel_tol=1e-5, abs_tol=1e-5)
    return None in (before, now) or bool(before == now)
