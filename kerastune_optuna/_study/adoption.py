"""Add a finished trial that another tool has run, with the file of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna import _optuna
from kerastune_optuna._storage import digest, upload
from kerastune_optuna._study import record
from kerastune_optuna._study.home import Home
from kerastune_optuna._study.opening import quiet_optuna


def adopt(home: Home, trial: FrozenTrial, weights: Path | None) -> None:
    """Add a finished trial to a study.

    Args:
        home: Where the study and its weights are.
        trial: The trial.
        weights: A file that Keras saved its weights in; None where there is none.
    """
    if weights is not None:
        # Nothing can be added to a finished trial: the attrs that name its file come with it.
        trial.system_attrs = {**trial.system_attrs, **_kept(home, weights)}
    home.study.add_trial(trial)


def _kept(home: Home, weights: Path) -> dict[str, Any]:
    """Put a file into the store of weights; return the attrs by which a trial finds it."""
    with quiet_optuna():
        stage = optuna.create_study()  # in memory: a trial that takes the attrs while it runs
    running = stage.ask()
    upload(home.store, running, weights)
    _optuna.set_attr(running, record.WEIGHTS, digest(weights))
    return dict(stage.trials[0].system_attrs)
