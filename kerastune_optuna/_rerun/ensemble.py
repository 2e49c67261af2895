"""Average the kept models of a study: rebuild them, choose among them, and join those chosen."""

from __future__ import annotations

from contextlib import suppress

import keras
from optuna.trial import FrozenTrial

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError, BuilderError, WeightsError
from kerastune_optuna._rerun.averaging import Pool
from kerastune_optuna._rerun.greedy import Judge, Rows, select
from kerastune_optuna._rerun.members import Ensemble, Member
from kerastune_optuna._rerun.models import Models
from kerastune_optuna._study import Home
from kerastune_optuna._trial import MissingWeightsError

_LEAST = 2  # models of an ensemble


def _check_request(home: Home, rows: Rows, top: object) -> None:
    """Reject requests that ensemble() cannot meet.

    Raises:
        ArgumentError: An argument is invalid; the message says what to pass instead.
    """
    instead = "Pass from how many of the best models to choose; best_model() returns one."
    _check.integer("top", top, least=_LEAST, instead=instead)
    rows.check()
    if home.objectives.are_several:
        raise ArgumentError(
            f"ensemble() chooses models by one objective, but study {home.name!r} is to "
            f"{home.objectives.aim}. Search for objective={home.objectives.watched.name!r} alone."
        )


def _kept(kept: Models, top: int) -> tuple[list[FrozenTrial], list[keras.Model]]:
    """Return the best trials whose weights are kept, at most `top`, and their models.

    Raises:
        BuilderError: Their models are not compiled.
        WeightsError: There are fewer than two.
    """
    home, count = kept.home, min(top, kept.count)
    trials, models = [], []
    for trial in home.top(max(1, count))[:count]:
        with suppress(MissingWeightsError):  # keep_best= may have been raised later
            models.append(kept.of(home.existing, trial))
            trials.append(trial)
    if len(models) < _LEAST:
        raise WeightsError(
            f"Study {home.name!r} keeps {_check.count(len(models), 'model')}, and an ensemble "
            "needs two or more. Pass keep_best=5 to the tuner before it searches."
        )
    if not models[0].compiled:
        raise BuilderError(
            "build_model returns models that are not compiled, so that nothing says what the mean "
            "of their predictions is worth. Compile them there with a loss and metrics."
        )
    return trials, models


def ensemble(kept: Models, rows: Rows, top: int) -> Ensemble:
    """Choose among the kept models of the best trials, and return the ensemble.

    Args:
        kept: The kept models of the study.
        rows: The rows to choose by.
        top: From how many of the best trials to choose.
    """
    home = kept.home
    _check_request(home, rows, top)
    trials, models = _kept(kept, top)
    pool = Pool({one.number: model for one, model in zip(trials, models, strict=True)}, rows.inputs)
    candidates, *targets = rows.predict(pool.predictor())
    judge = Judge(pool.judge(), home.objectives.watched, *targets)
    shares = select(candidates, judge)
    members = [Member(trials[n], share, judge.value(candidates[n])) for n, share in shares.items()]
    model = pool.ensemble(shares)
    return Ensemble(
        model,
        home.name,
        judge.objective,
        sorted(members, key=lambda member: -member.weight),
        judge.objective_in(rows.evaluate(model)),
        len(trials),
    )
