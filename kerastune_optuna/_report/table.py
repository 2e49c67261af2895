"""The results of a study as a pandas DataFrame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import optuna

from kerastune_optuna._report.facts import Facts, state_of
from kerastune_optuna._study import StudyRecord, TrialRecord

if TYPE_CHECKING:
    import pandas

# The user attrs of a trial that users look for.
_ATTRS = (
    TrialRecord.best_value,
    TrialRecord.best_epoch,
    TrialRecord.epochs,
    TrialRecord.epochs_run,
    TrialRecord.seconds,
    TrialRecord.seed,
    TrialRecord.stop_reason,
    TrialRecord.n_params,
    TrialRecord.worker,
)
# Further user attrs, which a trial has if its FLOPs count, if it runs another trial again, or if it
# has several trainings.
_OF_SOME = (
    TrialRecord.flops,
    TrialRecord.retry_of,
    TrialRecord.std,
    TrialRecord.values,
    TrialRecord.seeds,
    TrialRecord.best_epochs,
)


def results(study: optuna.Study) -> pandas.DataFrame:
    """Return a table with one row for each trial that began, ordered by number.

    Columns: number, state, value (with several objectives, a `values_...` for each), a `params_...`
    for each parameter, and the user attrs of trials.
    """
    import pandas  # takes half a second to import, and only results() needs it

    facts = Facts(study)
    trials = facts.trials
    names = sorted(facts.params)
    values = ["value"]
    if facts.objectives.are_several:
        values = [f"values_{name}" for name in facts.objectives.names]
    written = {attr for trial in trials for attr in trial.user_attrs}
    attrs = [*_ATTRS, *(attr for attr in _OF_SOME if attr in written)]
    rows = [
        {
            "number": trial.number,
            "state": state_of(trial),
            **dict(zip(values, trial.values or [None] * len(values), strict=True)),
            **{f"params_{name}": trial.params.get(name) for name in names},
            **{attr: trial.user_attrs.get(attr) for attr in attrs},
            TrialRecord.stop_reason: TrialRecord(trial).ended_because,
            TrialRecord.worker: TrialRecord(trial).process,
        }
        for trial in trials
    ]
    columns = ["number", "state", *values, *(f"params_{name}" for name in names), *attrs]
    table = pandas.DataFrame(rows, columns=columns)
    # warm_start= compares trials by this; pandas keeps it if columns are renamed or added.
    table.attrs[StudyRecord.card] = {
        "directions": facts.objectives.directions,
        "cards": [card for card, _ in facts.cards],
    }
    return table
