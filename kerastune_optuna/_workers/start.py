"""A warm start from trials of earlier studies: the sampler sees them, or they are run first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, TypeAlias

import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna import _check
from kerastune_optuna._data import Given
from kerastune_optuna._exceptions import ArgumentError, ArgumentTypeError
from kerastune_optuna._report import results
from kerastune_optuna._search import Fitting, enqueue, listed
from kerastune_optuna._study import Card, StudyRecord, TrialRecord, sign_of
from kerastune_optuna._trial import Recipe

if TYPE_CHECKING:
    import pandas

Source: TypeAlias = "optuna.Study | pandas.DataFrame"

_PARAMS = "params_"  # the prefix of a table's columns with parameters
_KINDS = "Pass an Optuna study, a DataFrame like tuner.results(), or a list of these."
_BEST = 3  # configurations from other data that are run first
# The columns with the value of a trial; for a PRUNED one, it is the value of its best epoch.
_BOTH = ("value", TrialRecord.best_value)
_VALUES = {"COMPLETE": _BOTH, "PRUNED": _BOTH[::-1]}


@dataclass(frozen=True)
class Start:
    """Hold the trials and configurations from which a search starts.

    Args:
        warm_trials: Trials that the sampler sees in addition to those of the study.
        first: Configurations that are run first, the best one first.
        line: A line that tells the user about both.
    """

    warm_trials: Sequence[FrozenTrial] = ()
    first: Sequence[Mapping[str, Any]] = ()
    line: str | None = None

    def lay_out(self, study: optuna.Study) -> None:
        """Enqueue the configurations in a study in which no trial has begun."""
        if not any(TrialRecord(one).has_begun for one in study.get_trials(deepcopy=False)):
            for params in self.first:
                enqueue(study, params)


def check_warm_start(given: object, *, are_several: bool) -> None:
    """Refuse a value of warm_start= that holds no trials.

    Raises:
        ArgumentError: Says what to pass instead.
    """
    for source in _listed(given):
        _check_source(source)
    if are_several:
        raise ArgumentError(
            "warm_start= is for one objective, but there are several, so that no trial is the "
            "best. Pass one objective, or configurations to enqueue()."
        )
    if isinstance(given, list) and not given:
        raise ArgumentError(f"warm_start=[] holds no trials. {_KINDS}")


def _listed(given: Any) -> list[Any]:
    """Return the sources of a warm start."""
    return given if isinstance(given, list) else [given]


def _check_source(source: Any) -> None:
    """Refuse a source that is no study with one objective, and no table with its columns."""
    if isinstance(source, optuna.Study):
        if len(source.directions) == 1:
            return
        source = results(source)
    # pandas takes half a second to import, and whoever passes a table has imported it already.
    if not (hasattr(source, "columns") and hasattr(source, "to_dict")):
        raise ArgumentTypeError(f"warm_start= got {source!r}, which holds no trials. {_KINDS}")
    names = [str(name) for name in source.columns]
    missing = [] if "value" in names else ["'value'"]
    missing += [] if any(name.startswith(_PARAMS) for name in names) else ["'params_...'"]
    if missing:
        raise ArgumentError(
            f"warm_start= got a table with the columns {', '.join(names)}, but without "
            f"{' and '.join(missing)}. Rename its columns as results() names them, for example: "
            'table.rename(columns={"accuracy": "value", "rate": "params_rate"}).'
        )


def start_of(given: Source | list[Source], recipe: Recipe, fit: Given, card: Card) -> Start:
    """Return the trials and configurations from which a search starts.

    Args:
        given: The value of warm_start=.
        recipe: What the trials of the search share.
        fit: The arguments of Model.fit.
        card: The card of the search.

    Raises:
        ArgumentError: A source holds no trial, or none that has a parameter of the builder.
    """
    fitting = Fitting(recipe.build_model, tuple(fit.functions.values()))
    warm_trials: list[FrozenTrial] = []
    queues: list[list[Mapping[str, Any]]] = []
    unused: set[str] = set()
    for source in _listed(given):
        table = results(source) if isinstance(source, optuna.Study) else source
        rows = list(_rows(table, recipe))
        fits = [fitting.fit(params, value) for params, value in rows]
        if not any(trial.params for trial, _ in fits):
            raise ArgumentError(_why_none(rows, fitting))
        unused |= {name for params, _ in rows for name in params} - fitting.asked.keys()
        cards = table.attrs.get(StudyRecord.card, {}).get("cards", ())
        is_same = bool(cards) and all(card.is_same(Card.read(one)) for one in cards)
        warm_trials += [trial for trial, is_whole in fits if is_same and is_whole]
        others = [trial.params for trial, is_whole in fits if not (is_same and is_whole)]
        queues.append(list(filter(None, others)))
    for place, trial in enumerate(warm_trials):
        trial.number = place - len(warm_trials)  # before all trials of the study
    best = [one for one in chain(*zip_longest(*queues)) if one is not None]
    first = list({tuple(one.items()): one for one in best}.values())[:_BEST]
    line = _line(len(warm_trials), len(first), sum(map(len, queues)))
    if unused:
        line = f"{line}; build_model does not ask for {', '.join(sorted(unused))}"
    return Start(warm_trials, first, line)


def _rows(table: pandas.DataFrame, recipe: Recipe) -> Iterator[tuple[dict[str, Any], float]]:
    """Yield the parameters and the value of each trial that has one, the best first."""
    directions = table.attrs.get(StudyRecord.card, {}).get("directions", ())
    if len(directions) != 1:  # a table of another tool, or of several objectives
        directions = recipe.objectives.directions
    columns = [name for name in table.columns if str(name).startswith(_PARAMS)]
    found = []
    for row in table.to_dict("records"):
        names = _VALUES.get(row.get("state", "COMPLETE"), ())
        values = [row[name] for name in names if not _is_missing(row.get(name))]
        if values and math.isfinite(values[0]):
            params = {str(name).removeprefix(_PARAMS): row[name] for name in columns}
            given = {name: value for name, value in params.items() if not _is_missing(value)}
            found.append((given, float(values[0])))
    yield from sorted(found, key=lambda one: sign_of(directions[0]) * one[1])


def _is_missing(value: Any) -> bool:
    """Whether a cell of a table is empty, for which pandas may use NaN."""
    return value is None or value != value


def _why_none(rows: Sequence[tuple[dict[str, Any], float]], fitting: Fitting) -> str:
    """Return an error text that says why no trial of a source can be used."""
    if not rows:
        return "warm_start= got no trial with a value. Pass COMPLETE or PRUNED trials."
    theirs = sorted({name for params, _ in rows for name in params})
    return (
        f"warm_start= got {_check.count(len(rows), 'trial')} with {', '.join(theirs) or 'nothing'};"
        f" build_model asks for {listed(fitting.asked)}. If only names differ, rename the columns: "
        'tuner.results().rename(columns={"params_lr": "params_learning_rate"}).'
    )


def _line(warm: int, first: int, others: int) -> str:
    """Return a line that says how the earlier trials are used."""
    parts = []
    if warm:
        parts.append(f"the sampler knows {_check.count(warm, 'earlier trial')} of the same data")
    if first:
        best = "the best configuration" if first == 1 else f"the best {first} configurations"
        go = "goes" if first == 1 else "go"
        parts.append(f"{best} of {_check.count(others, 'other trial')} {go} first")
    return f"Warm start: {'; '.join(parts)}"
