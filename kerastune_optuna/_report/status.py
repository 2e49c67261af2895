"""What the command line says of a study: how far it is, and what is best."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from kerastune_optuna._check import count
from kerastune_optuna._exceptions import NoTrialsError
from kerastune_optuna._report import text
from kerastune_optuna._report.facts import Facts


def line(facts: Facts, n_trials: int | None) -> str:
    """Return in one line the aim, how many trials are done, and the best value.

    Args:
        facts: What is known of the study.
        n_trials: The size that it is to have; None for no limit.
    """
    done = facts.counts[TrialState.COMPLETE] + facts.counts[TrialState.PRUNED]
    trials = count(done, "trial") if n_trials is None else f"{done} of {count(n_trials, 'trial')}"
    found = f"best {text.number(facts.best.value)}" if facts.best else "no value yet"
    if facts.are_several:
        found = f"{count(len(facts.front), 'trial')} on the front"
    return f"study {facts.name!r}: {facts.aim}, {trials}, {found}"


def status(facts: Facts) -> Iterator[str]:
    """Yield lines on the aim, the states of trials, the best ones, and what is running."""
    yield f"Study {facts.name!r}: {facts.aim}"
    states = ", ".join(f"{count} {state.name}" for state, count in facts.counts.items())
    trials = count(len(facts.trials), "trial")
    yield f"{trials}: {states}" if facts.trials else "No trial has begun"
    what = "On the front" if facts.are_several else "Best"
    for trial in (row.trial for row in facts.front):
        values = ", ".join(f"{value:.6g}" for value in trial.values)
        yield f"{what}: {values} in trial {trial.number} ({text.params_line(trial.params)})"
    for trial in facts.trials:
        if trial.state is TrialState.RUNNING:
            told = f"{_progress(trial)} ({text.params_line(trial.params)})"
            yield f"Trial {trial.number} is running: {told}"


def _progress(trial: FrozenTrial) -> str:
    if trial.last_step is None:
        return "first epoch"
    return f"{trial.intermediate_values[trial.last_step]:.6g} after epoch {trial.last_step + 1}"


def best(facts: Facts) -> dict[str, Any] | list[dict[str, Any]]:
    """Return the parameters of the best trial; of several objectives, a list of the best trials.

    Raises:
        NoTrialsError: No trial is COMPLETE.
    """
    if not facts.front:
        raise NoTrialsError(
            f"Study {facts.name!r} has no COMPLETE trial yet. Search on, or wait for it."
        )
    trials = [row.trial for row in facts.front]
    return [_as_dict(facts, trial) for trial in trials] if facts.are_several else trials[0].params


def _as_dict(facts: Facts, trial: FrozenTrial) -> dict[str, Any]:
    values = dict(zip(facts.metrics, trial.values, strict=True))
    return {"trial": trial.number, "values": values, "params": trial.params}
