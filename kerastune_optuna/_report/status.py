"""The status of a study in lines and as JSON: its progress and its best trials."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import optuna
from optuna.trial import TrialState

from kerastune_optuna._check import count
from kerastune_optuna._exceptions import NoTrialsError
from kerastune_optuna._report import text
from kerastune_optuna._report.facts import Facts
from kerastune_optuna._signals import readable
from kerastune_optuna._storage import unless_away
from kerastune_optuna._study import Home, ranking


def line(study: optuna.Study, n_trials: int | None) -> str:
    """Return one line with the aim, the number of trials that are done, and the best value.

    Args:
        study: The study.
        n_trials: The size that the study should reach; None for no limit.
    """
    facts = Facts(study)
    done = facts.counts[TrialState.COMPLETE] + facts.counts[TrialState.PRUNED]
    trials = count(done, "trial") if n_trials is None else f"{done} of {count(n_trials, 'trial')}"
    found = f"best {text.number(facts.best.value)}" if facts.best else "no value yet"
    if facts.are_several:
        found = f"{count(len(facts.front), 'trial')} on the front"
    return readable(f"study {facts.name!r}: {facts.aim}, {trials}, {found}")


def glance(home: Home, n_trials: int | None) -> str:
    """Return `line` for a study that may not be open yet, or whose database may be away."""
    begins = readable(f"study {home.name!r}: {home.objectives.aim}")
    with unless_away():  # does not wait for the database
        return line(home.existing, n_trials) if home.may_be_read else f"{begins}, not open yet"
    return f"{begins}, does not answer"


def status(study: optuna.Study) -> Iterator[str]:
    """Yield lines about the aim, the states of trials, the best ones, and the running ones."""
    facts = Facts(study)
    yield f"Study {facts.name!r}: {facts.aim}"
    states = ", ".join(f"{count} {state}" for state, count in facts.states.items())
    trials = count(len(facts.trials), "trial")
    yield f"{trials}: {states}" if facts.trials else "No trial has begun"
    if facts.excluded:
        yield f"Excluded: {facts.excluded}"
    what = "On the front" if facts.are_several else "Best"
    for trial in (row.trial for row in facts.front):
        values = ", ".join(f"{value:.6g}" for value in trial.values)
        yield f"{what}: {values} in trial {trial.number} ({text.params_line(trial.params)})"
    for trial in facts.trials:
        if trial.state is TrialState.RUNNING:
            told, step = "first epoch", trial.last_step
            if step is not None:
                told = f"{trial.intermediate_values[step]:.6g} after epoch {step + 1}"
            yield f"Trial {trial.number} is running: {told} ({text.params_line(trial.params)})"


def best(study: optuna.Study) -> dict[str, Any] | list[dict[str, Any]]:
    """Return the parameters of the best trial; with several objectives, a list of the best trials.

    Raises:
        NoTrialsError: No trial is COMPLETE.
    """
    facts = Facts(study)
    if not facts.front:
        others = ranking.told_of_others(facts.trials)
        raise NoTrialsError(
            f"Study {facts.name!r} has no COMPLETE trial yet. {others or 'Search, or wait for it.'}"
        )
    trials = [row.trial for row in facts.front]
    if not facts.are_several:
        return trials[0].params
    return [
        {
            "trial": trial.number,
            "values": dict(zip(facts.metrics, trial.values, strict=True)),
            "params": trial.params,
        }
        for trial in trials
    ]
