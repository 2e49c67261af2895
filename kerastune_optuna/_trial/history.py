"""The history of a trial: the logs of its epochs, kept as a table beside its weights."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial

from kerastune_optuna import _digest
from kerastune_optuna._exceptions import StorageError, WeightsError
from kerastune_optuna._scratch import scratch
from kerastune_optuna._signals import print_line
from kerastune_optuna._storage import PatientStore
from kerastune_optuna._study import Home, TrialFiles, TrialRecord
from kerastune_optuna._trial.ledger import Ledger

if TYPE_CHECKING:
    import pandas

# The column that holds the number of the training if there are several.
_TRAINING = "training"


def save(
    store: PatientStore, trial: optuna.Trial, ledger: Ledger, folder: Path
) -> WeightsError | None:
    """Keep the logs of a trial's epochs as an artifact of the trial.

    Args:
        store: The store in which weights are kept.
        trial: The running trial.
        ledger: The ledger, which has the logs of its epochs.
        folder: A folder for the temporary file.

    Returns:
        The error, if any. The caller raises it later, since the trial has its result anyway.
    """
    trainings = enumerate([*ledger.past, ledger.now])
    if ledger.length == 1:
        rows = [row for _, training in trainings for row in training.rows]
    else:
        rows = [{_TRAINING: place, **row} for place, one in trainings for row in one.rows]
    if not rows:
        return None  # a builder's own fit may call no callback
    path = folder / TrialFiles.HISTORY
    try:
        # A column for each name, in the order in which the names first appear.
        names = dict.fromkeys(name for row in rows for name in row)
        with open(path, "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, names, lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
        TrialRecord(trial).history = _digest.of_file(path)
        store.upload(trial, path)
    except (StorageError, UpdateFinishedTrialError):
        raise  # the database failed, so the trial has no result yet
    except Exception as error:  # a store may raise anything
        return WeightsError(
            f"The history of trial {trial.number} cannot be saved: {type(error).__name__}: "
            f"{error}. Its result is kept. Free space in directory=, or fix artifact_store=."
        )
    finally:
        path.unlink(missing_ok=True)
    return None


def history_of(home: Home, trial: FrozenTrial) -> pandas.DataFrame:
    """Return the table of a trial's epochs; the reports of the objective if none is intact."""
    import pandas  # takes half a second to import, and only tables need it

    with scratch() as folder:
        path = folder / TrialFiles.HISTORY
        if home.files.fetch(trial, TrialFiles.HISTORY, path):
            if TrialRecord(trial).history in (None, _digest.of_file(path)) and path.stat().st_size:
                return pandas.read_csv(path, float_precision="round_trip")
            print_line(
                f"The history of trial {trial.number} is damaged, maybe by a power cut. This "
                "is the objective alone, which the study has, too."
            )
    reports = sorted(trial.intermediate_values.items())
    return pandas.DataFrame(reports, columns=["epoch", home.objectives.watched.name])
