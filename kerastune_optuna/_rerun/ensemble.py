"""Average the kept models of a study: rebuild them, choose among them, and join those chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import keras
from optuna.trial import FrozenTrial
from rich.text import Text

from kerastune_optuna import _check
from kerastune_optuna._exceptions import ArgumentError, WeightsError
from kerastune_optuna._report import drawn, params_line, printable, short, table_of_trials
from kerastune_optuna._rerun.averaging import Pool
from kerastune_optuna._rerun.greedy import Judge, Rows, select
from kerastune_optuna._rerun.models import Models
from kerastune_optuna._study import Home, Objective

_LEAST = 2  # models of an ensemble


@dataclass(frozen=True)
class Member:
    """One model of an ensemble.

    Args:
        trial: The trial whose model it is.
        weight: Its share of the mean.
        value: The objective of only this model, on the rows that were passed to ensemble().
    """

    trial: FrozenTrial
    weight: float
    value: float


@dataclass(frozen=True)
class Ensemble:
    """The result of ensemble(): the averaged model, and how good it is. It prints as a table.

    Args:
        model: The compiled model, which needs only Keras.
        study_name: The study whose models it averages.
        objective: The objective by which they were chosen, with its direction.
        members: The models that it averages, the largest weight first.
        value: The objective on the rows that were passed, as `model.evaluate` gives it.
        tried: How many models there were to choose from.
    """

    model: keras.Model
    study_name: str
    objective: Objective
    members: Sequence[Member]
    value: float
    tried: int

    def __str__(self) -> str:
        """Return the table, ready to print."""
        title = f" Study {self.study_name!r}: {self.objective.direction} {self.objective.name}"
        note = f" Chosen by these rows from {self.tried} kept models, so the value is optimistic."
        table = table_of_trials("trial", "weight", self.objective.name)
        table.add_row("ensemble", "1.00", short(self.value), "")
        for member in self.members:
            table.add_row(
                str(member.trial.number),
                f"{member.weight:.2f}",
                short(member.value),
                params_line(member.trial.params),
            )
        parts = Text(title), table, Text(note)
        return printable(drawn(*parts, force_terminal=False).rstrip())

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


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


def _models(kept: Models, trials: Sequence[FrozenTrial]) -> dict[int, keras.Model]:
    """Return the models of trials by number, as far as their weights are kept.

    Raises:
        WeightsError: There are fewer than two.
    """
    models = kept.of_each(trials)
    if len(models) < _LEAST:
        raise WeightsError(
            f"Study {kept.home.name!r} keeps {_check.count(len(models), 'model')}, and an ensemble "
            "needs two or more. Pass keep_best=5 to the tuner before it searches."
        )
    return models


def ensemble(kept: Models, rows: Rows, top: int) -> Ensemble:
    """Choose among the kept models of the best trials, and return the ensemble.

    Args:
        kept: The kept models of the study.
        rows: The rows to choose by.
        top: From how many of the best trials to choose.
    """
    home = kept.home
    _check_request(home, rows, top)
    count = min(top, kept.most)
    best = home.top(max(1, count))[:count]
    models = _models(kept, best)
    trials = [trial for trial in best if trial.number in models]
    pool = Pool(models, rows.inputs)
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
