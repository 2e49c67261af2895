"""What we write into studies and trials: the name of each attribute, and how numbers are read."""

from __future__ import annotations

from typing import Any

from optuna.trial import FrozenTrial

# User attrs of a trial; `_storage` has two more, by which a lost answer is known: MARK and WORKER.
SEED = "seed"  # what a training starts from
SEEDS = "seeds"  # the same of each of several trainings
VALUES = "values"  # the values of several trainings
STD = "std"  # their standard deviation
BEST_VALUE = "best_value"  # the value of the best epoch
BEST_EPOCH = "best_epoch"  # the best epoch, counted from 0 from the first that was trained
BEST_EPOCHS = "best_epochs"  # the same of each of several trainings
EPOCHS = "epochs"  # how many epochs a trial may run in all
EPOCHS_RUN = "epochs_run"  # how many it ran
SECONDS_RUN = "seconds"  # how long it took
STOP_REASON = "stop_reason"  # why its training ended
CARD = "card"  # the key of its card; the keys of cards in the study begin so too
REPEAT_OF = "repeat_of"  # the number of the trial whose result it has
RETRY_OF = "retry_of"  # the number of the trial that is run again
CONFIRMS = "confirms"  # the number of the trial whose configuration it trains
FITS = "fits"  # the epochs of each fit, where it had several
DIVERGED = "diverged"  # the epochs that it ran until its loss was NaN
NOT_FINITE = "not_finite"  # where the data holds NaN or infinity
INPUTS = "inputs"  # the inputs by which a model makes variables that it came without

# System attrs of a trial.
SLOT = "kerastune_optuna:slot"  # which machine laid it out
CLAIM = "kerastune_optuna:claim:"  # begins the attrs in which workers claim it
BEAT = "kerastune_optuna:beat"  # what its process counts up
SAMENESS = "kerastune_optuna:failure"  # equal for equal errors
WEIGHTS = "kerastune_optuna:weights_sha256"  # the checksum of its file of weights
VARIABLES = "kerastune_optuna:variables"  # the checksum of the variables in it
BACKUP = "kerastune_optuna:backup"  # where its last backup is
FROZEN = "kerastune_optuna:frozen:"  # the files of frozen weights; begins attrs of a study too
DEATHS = "kerastune_optuna:deaths"  # how many workers died of it
FEW = "kerastune_optuna:few:"  # begins the attrs with those values that a grid tries
POINT = "kerastune_optuna:point"  # how it was laid out, and in which order

# User attrs of a study, which the dashboard shows; others may have attrs of their own in it.
PART_OF = "kerastune_optuna:part_of"  # the name of the study that it is part of, and deleted with
TRAININGS = "kerastune_optuna:trainings"  # what a value is the mean of, where that is several
GIVEN = "kerastune_optuna:given"  # what its latest search gave to trials
CONFIRMATION = "kerastune_optuna:confirmation"  # what was confirmed, and in which study
EPOCHS_GIVEN = "kerastune_optuna:epochs"  # how many a trial of its latest search may run

# System attrs of a study.
EPOCHS_SINCE = "kerastune_optuna:epochs_since"  # the first trial that may run EPOCHS_GIVEN
ENDED = "kerastune_optuna:ended"  # after how many trials a search stopped early, and why
KEEP_BEST = "kerastune_optuna:keep_best:"  # begins those that say how many models searches keep


def number(trial: FrozenTrial, attr: str) -> float | None:
    """Return a user attr that is a number; None where it is not there, or something else."""
    value: Any = trial.user_attrs.get(attr)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
